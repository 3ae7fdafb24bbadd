"""Hear what is said from now on."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Self

from msgspec import Struct

from millrace.supervisor.logs.entry import Entry

MAX_WAITING = 10_000
"""Entries that wait for a listener; the newest are dropped, and counted, while it is too slow."""


class News(Struct, frozen=True):
    """What came since the last look, after which `lost` more entries came that there was no room for."""

    entries: tuple[Entry, ...]
    lost: int = 0


class Subscription:
    """One listener, to all processes or to one. Close it, or use it as a context manager."""

    def __init__(self, process: str | None, leave: Callable[["Subscription"], None]) -> None:
        """Made by `Logs.subscribe`."""
        self.process = process
        self._leave = leave
        self._waiting: deque[Entry] = deque()
        self._lost = 0
        self._wake = asyncio.Event()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hear(self, entries: Sequence[Entry]) -> None:
        """Keep what there is room for; never waits."""
        # After the first loss nothing is taken until it has been told, so that what is told has no holes.
        room = 0 if self._lost else max(0, MAX_WAITING - len(self._waiting))
        self._waiting.extend(entries[:room])
        self._lost += len(entries[room:])
        self._wake.set()

    async def read(self) -> News | None:
        """Wait for something to be said; None when nothing will be, because this or the supervisor was closed."""
        while not (self._waiting or self._lost or self._closed):
            self._wake.clear()
            await self._wake.wait()
        if not (self._waiting or self._lost):
            return None
        news = News(tuple(self._waiting), self._lost)
        self._waiting.clear()
        self._lost = 0
        return news

    def close(self) -> None:
        """Hear no more; what was heard can still be read."""
        self._closed = True
        self._leave(self)
        self._wake.set()
