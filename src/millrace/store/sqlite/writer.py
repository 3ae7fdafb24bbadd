"""The one thread that writes: it takes everything that waits, commits it at once, and then answers.

One fsync serves all requests of a batch (group commit), and requests arrive while the disk works on the batch before.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from millrace.store.sqlite.connection import Session, meaning_of
from millrace.store.store import StoreError, StoreUnavailableError

T = TypeVar("T")
Unit = Callable[[Session], Any]
"""What one request does within a transaction. It may run twice: its first transaction may have been rolled back."""

MAX_BATCH = 256
"""Bounds how long the first request of a batch waits for the last; large, because a slow disk makes long queues."""

_Entry = tuple[Unit, "asyncio.Future[Any]"]
_Answer = tuple["asyncio.Future[Any]", Any, BaseException | None]


class Writer:
    """Group commit over one connection that no other thread uses."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        now_ms: Callable[[], int],
        on_commit: Callable[[bool, Iterable[int]], None],
    ) -> None:
        """`on_commit` is called on the event loop with whether transitions were added, and the classes now queued."""
        self._connection = connection
        self._path = path
        self._now_ms = now_ms
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Entry] = deque()
        self._wake = threading.Condition(threading.Lock())
        self._closing = False
        self._waking = False
        self._gathering = False
        self._failed: StoreUnavailableError | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> StoreUnavailableError | None:
        """Why the writer gave up for good; None while it works."""
        return self._failed

    async def submit(self, unit: Callable[[Session], T], *, gather_s: float = 0.0) -> T:
        """Run a unit in the next batch; returns when it is on the disk.

        A unit that nobody is in a hurry for may wait `gather_s` seconds for others to share its commit.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closing:
            raise StoreUnavailableError("cannot write: the store is stopped")
        self._waiting.append((unit, future))
        if gather_s:
            if not self._gathering:
                self._gathering = True
                self._loop.call_later(gather_s, self._end_gathering)
        elif not self._waking:
            # After all callbacks that are ready now, so that callers who were answered together come back together.
            self._waking = True
            self._loop.call_soon(self._wake_thread)
        return await future

    def _end_gathering(self) -> None:
        self._gathering = False
        self._wake_thread()

    def _wake_thread(self) -> None:
        self._waking = False
        with self._wake:
            self._wake.notify()

    async def stop(self) -> None:
        """Write what waits, then end the thread and close the connection."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await self._loop.run_in_executor(None, self._thread.join)
        self._connection.close()

    def _run(self) -> None:
        while batch := self._take():
            if self._failed is None:
                answers, session = self._commit(batch)
            else:
                answers, session = [(future, None, self._failed) for _, future in batch], None
            self._loop.call_soon_threadsafe(self._answer, answers, session)

    def _take(self) -> Sequence[_Entry]:
        with self._wake:
            while not self._waiting and not self._closing:
                self._wake.wait()
            return [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]

    def _commit(self, batch: Sequence[_Entry]) -> tuple[list[_Answer], Session | None]:
        """All units in one transaction. Where one fails, each again in one of its own: no savepoints when all is well."""
        try:
            results, session = self._transact([unit for unit, _ in batch])
        except Exception as error:  # noqa: BLE001  whatever a unit raises belongs to its caller
            if len(batch) == 1:
                return [(batch[0][1], None, self._judge(error))], None
            return self._commit_singly(batch)
        return [(future, result, None) for (_, future), result in zip(batch, results, strict=True)], session

    def _commit_singly(self, batch: Sequence[_Entry]) -> tuple[list[_Answer], Session | None]:
        answers: list[_Answer] = []
        merged: Session | None = None
        for unit, future in batch:
            if self._failed is not None:
                answers.append((future, None, self._failed))
                continue
            try:
                results, session = self._transact([unit])
            except Exception as error:  # noqa: BLE001  whatever a unit raises belongs to its caller
                answers.append((future, None, self._judge(error)))
                continue
            answers.append((future, results[0], None))
            if merged is not None:
                session.queued |= merged.queued
                session.changed |= merged.changed
            merged = session
        return answers, merged

    def _transact(self, units: Sequence[Unit]) -> tuple[list[Any], Session]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            session = Session(self._connection, self._now_ms())
            results = [unit(session) for unit in units]
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._note_broken_disk(error)
            if self._failed is None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return results, session

    def _note_broken_disk(self, error: BaseException) -> None:
        # After a failed fsync the kernel drops the dirty pages and the next fsync says that all is well
        # (https://wiki.postgresql.org/wiki/Fsync_Errors), so this process never writes again.
        if isinstance(error, apsw.Error) and isinstance(
            meaning := meaning_of(error, self._path), StoreUnavailableError
        ):
            self._failed = meaning

    def _judge(self, error: Exception) -> Exception:
        if self._failed is not None:
            return self._failed
        if isinstance(error, apsw.Error):
            return meaning_of(error, self._path) or StoreError(f"cannot write to {self._path}: {error}")
        return error

    def _answer(self, answers: Sequence[_Answer], session: Session | None) -> None:
        for future, result, error in answers:
            if future.cancelled():
                continue  # the caller gave up; what it asked for may have happened
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
        if session is not None and (session.changed or session.queued):
            self._on_commit(session.changed, session.queued)
