"""A ticker that has nothing to do sets no timer."""

import asyncio

from millrace.runtime.clock import VirtualClock
from millrace.runtime.ticker import Ticker


def test_it_rests_until_it_is_woken_and_then_ticks_on() -> None:
    async def scene() -> None:
        clock, idle, ticks = VirtualClock(), True, []

        async def tick() -> None:
            ticks.append(clock.monotonic())

        ticker = Ticker(tick, interval_s=1.0, clock=clock, on_error=lambda _: None, rests=lambda: idle)
        async with ticker:
            await clock.settle()
            assert (ticks, clock.sleeping) == ([0.0], 0)
            await clock.advance(10.0)
            assert ticks == [0.0]
            idle = False
            ticker.wake()
            await clock.advance(2.0)
            assert ticks == [0.0, 10.0, 11.0, 12.0]
            idle = True
            await clock.advance(5.0)
            assert (len(ticks), clock.sleeping) == (5, 0)  # the beat that was due when it became idle

    asyncio.run(scene())
