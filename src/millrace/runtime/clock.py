"""Time as an argument: the machine's clock, and one that tests move by hand.

Everything that waits takes a `Clock`. `now()` is for people and records; lengths of time are always measured with
`monotonic()`, because the wall clock may jump (NTP step, suspend) at any moment.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

T = TypeVar("T")

VIRTUAL_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What a long-lived thing may ask of time. Subclass it to inherit the two waits."""

    def now(self) -> datetime:
        """The wall clock, aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back, and ignores steps of the wall clock."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock; zero or less only lets others run."""
        ...

    async def wait_for(self, awaitable: Awaitable[T], timeout_s: float | None) -> T:
        """The result of `awaitable`, or TimeoutError after `timeout_s` of this clock (None: wait without end).

        What is awaited is cancelled at the timeout, and has ended when this returns. A result that was ready at the
        last moment wins over the timeout, so nothing taken from a queue is ever lost.
        """
        if timeout_s is None:
            return await awaitable
        work = asyncio.ensure_future(awaitable)
        timer = asyncio.ensure_future(self.sleep(timeout_s))
        try:
            await asyncio.wait((work, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            work.cancel()
            await asyncio.wait((work, timer))
        if work.cancelled() and not timer.cancelled():
            raise TimeoutError
        return work.result()

    async def wait_event(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        """Whether `event` was set within `timeout_s` of this clock. Does not clear it."""
        if event.is_set():
            return True
        try:
            await self.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return event.is_set()
        return True


class SystemClock(Clock):
    """The clock of this machine."""

    def now(self) -> datetime:
        """The wall clock, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC in seconds."""
        return time.monotonic()

    async def wait_event(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        """As for every clock, by a timer of the event loop: two tasks cheaper."""
        if not event.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await event.wait()
        return event.is_set()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(max(seconds, 0.0))


class VirtualClock(Clock):
    """Time that moves only when told (`advance`), or by itself to the next sleeper (`auto_advance=True`).

    Deterministic: sleepers wake in the order of their deadlines, then of their arrival, and after each one everything
    that it set in motion runs until the loop is idle. It knows only what happens on the event loop: work in threads,
    children and sockets takes real time and does not hold an automatic advance back.
    """

    _SETTLE_LIMIT = (
        10_000  # rounds of the loop; more than any honest chain of callbacks, so a busy loop cannot hang a test
    )

    def __init__(self, *, start: datetime = VIRTUAL_EPOCH, auto_advance: bool = False) -> None:
        """Begin at wall time `start` (aware) and monotonic 0.0."""
        self._wall = start
        self._elapsed_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._auto_advance = auto_advance
        self._driver: asyncio.Task[None] | None = None

    def now(self) -> datetime:
        """Wall time: the start, plus what has elapsed, plus every step of the wall clock."""
        return self._wall + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        """Virtual seconds since this clock was made."""
        return self._elapsed_s

    @property
    def sleeping(self) -> int:
        """How many sleepers wait."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def step_wall(self, seconds: float) -> None:
        """Move the wall clock alone, as NTP or an operator does; nobody wakes and `monotonic` does not notice."""
        self._wall += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait until somebody (or the automatic advance) has moved time by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, next(self._order), future))
        if self._auto_advance and (self._driver is None or self._driver.done()):
            self._driver = asyncio.create_task(self._drive(), name="virtual-clock")
        await future

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, waking each sleeper at its own moment, and return when the loop is idle."""
        end_s = self._elapsed_s + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            self._wake_next()
            await self.settle()
        self._elapsed_s = end_s

    async def settle(self) -> None:
        """Let everything that is ready run, until the loop has nothing left but waiting."""
        ready = getattr(asyncio.get_running_loop(), "_ready", None)
        idle_rounds = 0
        for _ in range(self._SETTLE_LIMIT):
            await asyncio.sleep(0)
            # Seen from the only running callback, an empty queue means that nobody else is ready. Twice, because
            # between two rounds the loop may have taken in timers and sockets.
            idle_rounds = 0 if ready else idle_rounds + 1
            if idle_rounds >= 2:
                return

    async def _drive(self) -> None:
        while self._sleepers:
            await self.settle()
            if self._sleepers:
                self._wake_next()

    def _wake_next(self) -> None:
        deadline_s, _, future = heapq.heappop(self._sleepers)
        if not future.done():  # a cancelled sleeper does not move time
            self._elapsed_s = max(self._elapsed_s, deadline_s)
            future.set_result(None)
