"""The one place that writes: it runs everything that waits, commits it at once on a thread, and then answers.

One fsync serves all requests of a batch (group commit), and requests arrive while the disk works on the batch before.
A unit takes microseconds, so it runs on the event loop: on a thread it would take and give back the interpreter's lock at
each statement, which costs more than the statement. What waits for the disk, and what is long, runs on the thread.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw
from msgspec import Struct

from millrace.store.sqlite.connection import Session, meaning_of
from millrace.store.store import StoreBrokenError, StoreError, StoreUnavailableError

T = TypeVar("T")
Unit = Callable[[Session], Any]
"""What one request does within a transaction. It may run twice: its first transaction may have been rolled back."""

MAX_BATCH = 64
"""Weight of a batch. It bounds how long units hold up the event loop: 64 reports with a claim take 4 to 6 ms."""


class _Entry(Struct, eq=False):
    """A unit that waits, or runs."""

    unit: Unit
    future: "asyncio.Future[Any]"
    weight: int
    alone: bool = False
    """It was in a batch that failed, so it gets a transaction of its own."""
    result: Any = None


class Writer:
    """Group commit over one connection, which belongs to the thread while that commits, and to the loop otherwise."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        now_ms: Callable[[], int],
        on_commit: Callable[[bool, Iterable[int]], None],
        on_broken: Callable[[StoreBrokenError], None] = lambda _: None,
    ) -> None:
        """`on_commit` is called on the event loop with whether transitions were added, and the classes now queued; `on_broken`
        once, when nothing is written any more.
        """
        self._connection = connection
        self._path = path
        self._now_ms = now_ms
        self._on_commit = on_commit
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Entry] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._closing = False
        self._starting = False
        self._gathering = False
        self._gathered_s = -math.inf  # when units that come in numbers were last begun
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._failed: StoreBrokenError | None = None

    @property
    def failed(self) -> StoreBrokenError | None:
        """Why the writer gave up for good; None while it works."""
        return self._failed

    def submit(self, unit: Callable[[Session], T], *, gather_s: float = 0.0, weight: int = 1) -> "asyncio.Future[T]":
        """Run a unit in the next batch; what is returned is done when it is on the disk.

        A unit that comes in numbers waits for others to share its commit, until `gather_s` seconds after the last such one:
        who comes alone does not wait. `weight` is how many rows' worth of work it is; one heavier than a batch runs on the
        thread.
        """
        if self._closing:
            raise StoreUnavailableError("cannot write: the store is stopped")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(_Entry(unit, future, weight))
        wait_s = self._gathered_s + gather_s - self._loop.time()
        if gather_s and wait_s > 0:
            if not self._gathering:
                self._gathering = True
                self._loop.call_later(wait_s, self._end_gathering)
        else:
            if gather_s:
                self._gathered_s = self._loop.time()
            self._start_soon()
        return future

    async def stop(self) -> None:
        """Write what waits, then end the thread and close the connection.

        Raises:
            StoreError: the disk failed at last. What was answered is in the log, and the next start finds it there.
        """
        self._closing = True
        self._start_soon()
        while self._waiting or self._busy:
            self._idle.clear()
            await self._idle.wait()
        await self._loop.run_in_executor(None, self._thread.shutdown)
        try:
            self._connection.close()
        except apsw.Error as error:
            raise self._judge(error) from error

    def _end_gathering(self) -> None:
        self._gathering = False
        self._gathered_s = self._loop.time()
        self._start_soon()

    def _start_soon(self) -> None:
        # After all callbacks that are ready now, so that callers who were answered together come back together.
        if not self._starting and not self._busy:
            self._starting = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        """Run the units of the next batch here and its commit on the thread; or all of it there, if it is long."""
        self._starting = False
        batch = self._take()
        if not batch:
            self._idle.set()
            return
        self._busy = True
        if self._failed is not None:
            self._end(batch, None, self._failed)
        elif batch[0].weight > MAX_BATCH:
            self._on_thread(self._transact, batch)
        else:
            try:
                session = self._run(batch)
            except Exception as error:  # noqa: BLE001  whatever a unit raises belongs to its caller
                self._end(batch, None, error)
            else:
                self._on_thread(self._commit, batch, session)

    def _take(self) -> list[_Entry]:
        """The entries that share the next transaction."""
        batch: list[_Entry] = []
        room = MAX_BATCH
        while self._waiting:
            entry = self._waiting[0]
            if batch and (entry.alone or batch[0].alone or entry.weight > room):
                break
            room -= entry.weight
            batch.append(self._waiting.popleft())
        return batch

    def _on_thread(self, work: Callable[..., Session], batch: list[_Entry], *rest: Session) -> None:
        def done(running: "asyncio.Future[Session]") -> None:
            error = running.exception()
            self._end(batch, None if error is not None else running.result(), error)

        self._loop.run_in_executor(self._thread, work, batch, *rest).add_done_callback(done)

    def _transact(self, batch: Sequence[_Entry]) -> Session:
        return self._commit(batch, self._run(batch))

    def _run(self, batch: Sequence[_Entry]) -> Session:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            session = Session(self._connection, self._now_ms())
            for entry in batch:
                entry.result = entry.unit(session)
        except BaseException as error:
            self._roll_back(error)
            raise
        return session

    def _commit(self, _: Sequence[_Entry], session: Session) -> Session:
        try:
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back(error)
            raise
        return session

    def _roll_back(self, error: BaseException) -> None:
        # After a failed fsync the kernel drops the dirty pages and the next fsync says that all is well
        # (https://wiki.postgresql.org/wiki/Fsync_Errors), so this process never writes again: not even its log into the database,
        # as whoever closes the last connection does.
        if isinstance(error, apsw.Error) and isinstance(meaning := meaning_of(error, self._path), StoreBrokenError):
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._failed = meaning
            self._loop.call_soon_threadsafe(self._on_broken, meaning)
        if self._failed is None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _end(self, batch: Sequence[_Entry], session: Session | None, error: BaseException | None) -> None:
        """Answer, or give each of a failed batch a transaction of its own: no savepoints while all is well."""
        self._busy = False
        if error is None:
            for entry in batch:
                if not entry.future.cancelled():  # the caller gave up; what it asked for happened all the same
                    entry.future.set_result(entry.result)
        elif len(batch) > 1 and self._failed is None:
            for entry in reversed(batch):
                entry.alone = True
                self._waiting.appendleft(entry)
        else:
            for entry in batch:
                if not entry.future.cancelled():
                    entry.future.set_exception(self._judge(error))
        if session is not None and (session.changed or session.queued):
            self._on_commit(session.changed, session.queued)
        self._start_soon()

    def _judge(self, error: BaseException) -> BaseException:
        if self._failed is not None:
            return self._failed
        if isinstance(error, apsw.Error):
            return meaning_of(error, self._path) or StoreError(f"cannot write to {self._path}: {error}")
        return error
