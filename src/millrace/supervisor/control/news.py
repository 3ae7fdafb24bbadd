"""Wake everybody who waits for something to change."""

import asyncio
from collections.abc import Callable

from millrace.runtime.clock import Clock


class News:
    """Ring after a change, also after the last one: `over` tells that nothing more will come."""

    def __init__(self, clock: Clock) -> None:
        """`clock` measures how long is waited."""
        self.over = False
        self._clock = clock
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Something has changed."""
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    def end(self) -> None:
        """Nothing more will change; nobody waits any longer."""
        self.over = True
        self.ring()

    async def until(self, seen: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until it is so, the end, or the time is up; whether it is so."""
        due_s = self._clock.monotonic() + timeout_s
        while not (so := seen()) and not self.over:
            left_s = due_s - self._clock.monotonic()
            if left_s <= 0:
                break
            await self._clock.wait_event(self._bell, left_s)
        return so
