"""Steering one attempt from outside: pause, resume, end. The attempt itself only passes gates and holds children."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from millrace.process.child import Child
from millrace.runtime.clock import Clock
from millrace.worker.stopwatch import Stopwatch

ENDING_GRACE_S = 1.0
"""Seconds that an engine may take to end by itself; what it wrote is thrown away in any case."""


class Ending(Enum):
    """Why an attempt is ended from outside."""

    CANCELED = "canceled"  # by a directive: the attempt is no longer ours, nothing is reported
    STALE = "stale"  # a report was answered with 409: likewise
    LEASE_LOST = "lease_lost"  # the lease could not be renewed: nothing is reported before a master answers again
    HURRY = "hurry"  # the worker ends now: the task is handed back unspent


class Control:
    """The handle of one attempt."""

    def __init__(self, clock: Clock) -> None:
        """Begins unpaused, with its stopwatch running."""
        self.stopwatch = Stopwatch(clock)
        self.ending: Ending | None = None
        self._clock = clock
        self._gate = asyncio.Event()
        self._gate.set()
        self._changed = asyncio.Event()
        self._steering = asyncio.Lock()
        self._children: set[Child] = set()
        self._task: asyncio.Future[Any] | None = None

    @property
    def paused(self) -> bool:
        """Whether the attempt is held, or about to be."""
        return not self._gate.is_set()

    @property
    def grace_s(self) -> float:
        """How long an engine may take to end: none where another node may run the task already."""
        return 0.0 if self.ending in (Ending.STALE, Ending.LEASE_LOST, Ending.HURRY) else ENDING_GRACE_S

    def runs_in(self, task: "asyncio.Future[Any]") -> None:
        """Name the asyncio task that :meth:`end` cancels; at once where the end came earlier."""
        self._task = task
        if self.ending is not None:
            task.cancel()

    async def pause(self) -> None:
        """Return when nothing of the attempt runs any more; its time limit stands still."""
        async with self._steering:
            self._gate.clear()
            self.stopwatch.pause()
            self._changed.set()
            await asyncio.gather(*(child.pause() for child in self._children))

    async def resume(self) -> None:
        """Let the attempt go on where it was."""
        async with self._steering:
            await asyncio.gather(*(child.resume() for child in self._children))
            self.stopwatch.resume()
            self._gate.set()
            self._changed.set()

    def end(self, ending: Ending) -> None:
        """End the attempt. Works on a paused one. A later call can only make it more urgent."""
        if self.ending is None:
            self.ending = ending
            if self._task is not None:
                self._task.cancel()
        elif ending in (Ending.STALE, Ending.LEASE_LOST):
            self.ending = ending
            for child in self._children:
                asyncio.ensure_future(child.stop(0.0)).add_done_callback(_seen)

    async def gate(self) -> None:
        """Pass at once, or wait while the attempt is paused. Called between the pieces of every long step."""
        await self._gate.wait()

    @contextmanager
    def holding(self, child: Child) -> Iterator[None]:
        """Steer this child while the block runs."""
        self._children.add(child)
        try:
            yield
        finally:
            self._children.discard(child)

    async def until_elapsed(self, limit_s: float) -> None:
        """Return when the stopwatch shows `limit_s`; pauses do not count."""
        while (left_s := limit_s - self.stopwatch.elapsed_s) > 0:
            self._changed.clear()
            await self._clock.wait_event(self._changed, None if self.paused else left_s)


def _seen(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()  # whoever waits for the child is told; here it only must not be called unseen
