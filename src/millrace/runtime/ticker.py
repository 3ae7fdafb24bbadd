"""A duty that comes round: every few seconds, and at once when somebody asks."""

import asyncio
import math
from collections.abc import Awaitable, Callable

from millrace.runtime.clock import Clock
from millrace.runtime.service import Service


class Ticker(Service):
    """Runs a coroutine function every `interval_s` seconds, and on `wake()`; never twice at the same time.

    The rhythm is kept (a tick of 0.3 s every second still comes once a second), but missed beats are not made up for. A
    tick that raises is reported to `on_error`, and the next one comes all the same. `stop` waits for the running tick.
    """

    def __init__(
        self,
        tick: Callable[[], Awaitable[None]],
        *,
        interval_s: float,
        clock: Clock,
        on_error: Callable[[Exception], None],
        name: str = "ticker",
        immediately: bool = True,
        rests: Callable[[], bool] = lambda: False,
    ) -> None:
        """`immediately`: the first tick comes at the start, not after the first interval. `rests`: whether there is nothing to do
        at all, so that after a tick the next one only comes by `wake`.
        """
        super().__init__()
        if interval_s <= 0:
            raise ValueError(f"cannot tick every {interval_s} s: the interval must be above zero")
        self._tick = tick
        self._interval_s = interval_s
        self._clock = clock
        self._on_error = on_error
        self._name = name
        self._immediately = immediately
        self._rests = rests
        self._wake = asyncio.Event()
        self._stopping = False
        self._begun = 0
        self._ended = 0
        self._progress = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{self._name}>"

    def wake(self) -> None:
        """Tick as soon as possible: now, or right after the running tick."""
        self._wake.set()

    async def tick_now(self) -> None:
        """Wake, and return when a tick that began after this call has ended, or the ticker has stopped."""
        target = self._begun + 1
        self.wake()
        async with self._progress:
            await self._progress.wait_for(lambda: self._ended >= target or self._task is None or self._task.done())

    async def on_start(self) -> None:
        """Begin to tick."""
        self._stopping = False
        if self._immediately:
            self._wake.set()
        self._task = asyncio.create_task(self._loop(), name=self._name)

    async def on_stop(self) -> None:
        """Let the running tick end, and begin no other."""
        self._stopping = True
        self._wake.set()
        task, self._task = self._task, None
        if task is not None:
            await task
        self._wake.clear()
        async with self._progress:
            self._progress.notify_all()

    async def _loop(self) -> None:
        due_s = self._clock.monotonic() + self._interval_s
        while True:
            resting = self._rests() and not self._wake.is_set()
            await self._clock.wait_event(self._wake, None if resting else due_s - self._clock.monotonic())
            if self._stopping:
                return
            self._wake.clear()
            self._begun += 1
            try:
                await self._tick()
            except Exception as error:  # noqa: BLE001  one bad tick must not end the duty
                self._on_error(error)
            self._ended = self._begun
            async with self._progress:
                self._progress.notify_all()
            due_s = _next_beat(due_s, self._interval_s, self._clock.monotonic())


def _next_beat(due_s: float, interval_s: float, now_s: float) -> float:
    """The first beat of the old rhythm after `now_s`; a tick woken shortly before a beat counts as that beat."""
    if now_s < due_s - interval_s / 2:
        return due_s
    missed = max(0, math.floor((now_s - due_s) / interval_s))
    return due_s + (missed + 1) * interval_s
