"""Reads beside the writer: a few threads, each with a read-only connection, each read one short transaction."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from millrace.store.sqlite.connection import Session, meaning_of, open_connection
from millrace.store.store import StoreError, StoreUnavailableError

T = TypeVar("T")
READERS = 2


class Readers:
    """A small pool. A read sees every commit that was answered before it began."""

    def __init__(self, path: Path, now_ms: Callable[[], int], vfs: str | None = None) -> None:
        self._path = path
        self._now_ms = now_ms
        self._vfs = vfs
        self._own = threading.local()
        self._opened: list[apsw.Connection] = []
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._closed = False

    async def read(self, query: Callable[[Session], T]) -> T:
        """Run a query on a snapshot of the database."""
        if self._closed:
            raise StoreUnavailableError("cannot read: the store is stopped")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, query)

    async def stop(self) -> None:
        """Finish what runs and close."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
        for connection in self._opened:
            connection.close()
        self._opened.clear()

    def _read(self, query: Callable[[Session], T]) -> T:
        try:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                return query(Session(connection, self._now_ms()))
            finally:
                connection.execute("COMMIT")
        except apsw.Error as error:
            raise meaning_of(error, self._path) or StoreError(f"cannot read {self._path}: {error}") from error

    def _connection(self) -> apsw.Connection:
        connection: apsw.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = open_connection(self._path, readonly=True, vfs=self._vfs)
            self._opened.append(connection)
        return connection
