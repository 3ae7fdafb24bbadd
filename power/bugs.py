"""What would lose jobs with the power, planted to see that it is noticed."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import millrace.blobs.disk
import millrace.blobs.local
import millrace.blobs.publish
import millrace.store.sqlite.driver
from millrace.store.sqlite.writer import Writer
from sim.bugs import ALL as SIMULATED
from sim.bugs import planted as simulated
from sim.world import replaced

TURNS = 20
"""Of the event loop, in which whoever was answered goes on."""
Planted = Callable[[], AbstractContextManager[Any]]


@contextmanager
def _normal() -> Iterator[None]:
    """SQLite that syncs at checkpoints only (synchronous=NORMAL)."""
    connect = millrace.store.sqlite.driver.open_connection

    def connected(*arguments: Any, **more: Any) -> Any:
        connection = connect(*arguments, **more)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    with replaced([(millrace.store.sqlite.driver, "open_connection", connected)]):
        yield


@contextmanager
def _answered_first() -> Iterator[None]:
    """An answer before its commit. Who is answered says so before the disk is asked: else chance would have the first word."""
    commit = Writer._commit

    async def said() -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def committed(self: Any, *rest: Any) -> Any:
        asyncio.run_coroutine_threadsafe(said(), self._loop).result()
        return commit(self, *rest)

    with simulated(SIMULATED["answer-before-commit"]), replaced([(Writer, "_commit", committed)]):
        yield


@contextmanager
def _unsynced(*places: tuple[Any, str]) -> Iterator[None]:
    with replaced([(module, name, lambda *_: None) for module, name in places]):
        yield


class _Unsynced:
    """`os`, whose fsync does nothing."""

    def __getattr__(self, name: str) -> Any:
        return (lambda _: None) if name == "fsync" else getattr(os, name)


@contextmanager
def _blobs_unsynced() -> Iterator[None]:
    with replaced([(millrace.blobs.local, "os", _Unsynced())]):
        yield


BUGS: dict[str, Planted] = {
    "synchronous-normal": _normal,
    "answer-before-commit": _answered_first,
    "files-not-synced": lambda: _unsynced((millrace.blobs.publish, "_sync_tree")),
    "blobs-not-synced": _blobs_unsynced,
    "names-not-synced": lambda: _unsynced(
        (millrace.blobs.publish, "sync_folder"), (millrace.blobs.local, "sync_folder")
    ),
}
"""By name, what plants it while its block runs."""
