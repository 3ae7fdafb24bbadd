import asyncio
from datetime import UTC, datetime

import pytest

from millrace.runtime.clock import SystemClock, VirtualClock


def test_virtual_sleepers_wake_in_order_of_deadline_and_see_their_own_moment():
    async def scene():
        clock = VirtualClock()
        seen: list[tuple[str, float]] = []

        async def sleeper(name: str, *naps: float):
            for nap in naps:
                await clock.sleep(nap)
                seen.append((name, clock.monotonic()))

        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("a", 3.0))
            group.create_task(sleeper("b", 1.0, 1.0))
            group.create_task(sleeper("c", 3.0))
            await clock.advance(2.5)
            assert seen == [("b", 1.0), ("b", 2.0)]
            assert clock.monotonic() == 2.5
            await clock.advance(0.5)
        assert seen[2:] == [("a", 3.0), ("c", 3.0)]
        assert clock.sleeping == 0

    asyncio.run(scene())


def test_a_virtual_year_passes_by_itself():
    async def scene():
        clock = VirtualClock(auto_advance=True)
        await clock.sleep(365 * 86400)
        return clock.now()

    assert asyncio.run(scene()) == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_step_of_the_wall_clock_wakes_nobody():
    async def scene():
        clock = VirtualClock()
        task = asyncio.create_task(clock.sleep(10))
        await clock.settle()
        clock.step_wall(3600)
        await clock.settle()
        assert not task.done()
        assert clock.monotonic() == 0
        assert clock.now() == datetime(2026, 1, 1, 1, tzinfo=UTC)
        await clock.advance(10)
        assert task.done()

    asyncio.run(scene())


def test_a_cancelled_sleeper_does_not_move_automatic_time():
    async def scene():
        clock = VirtualClock(auto_advance=True)
        long = asyncio.create_task(clock.sleep(1000))
        await asyncio.sleep(0)
        long.cancel()
        await clock.sleep(1)
        return clock.monotonic()

    assert asyncio.run(scene()) == 1


@pytest.mark.parametrize("clock", [SystemClock(), VirtualClock(auto_advance=True)], ids=["system", "virtual"])
def test_wait_for_gives_the_result_or_ends_what_it_waited_for(clock):
    async def scene():
        assert await clock.wait_for(asyncio.sleep(0, "done"), 5) == "done"
        assert await clock.wait_for(asyncio.sleep(0, "done"), None) == "done"
        ended = asyncio.Event()

        async def never():
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        with pytest.raises(TimeoutError):
            await clock.wait_for(never(), 0.01)
        assert ended.is_set()

        async def fails():
            raise ValueError("inner")

        with pytest.raises(ValueError, match="inner"):
            await clock.wait_for(fails(), 5)

    asyncio.run(scene())


def test_wait_for_keeps_a_result_that_arrives_with_the_timeout():
    async def scene():
        clock = VirtualClock()
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def stubborn():
            try:
                return await queue.get()
            except asyncio.CancelledError:
                return 7  # taken already: cancellation came too late

        waiting = asyncio.create_task(clock.wait_for(stubborn(), 1))
        await clock.advance(1)
        return await waiting

    assert asyncio.run(scene()) == 7


def test_cancelling_wait_for_cancels_what_it_waits_for():
    async def scene():
        clock = VirtualClock()
        inner = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(clock.wait_for(inner, 60))
        await clock.settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert inner.cancelled()
        assert clock.sleeping == 0

    asyncio.run(scene())


def test_wait_event_tells_whether_it_was_set():
    async def scene():
        clock = VirtualClock(auto_advance=True)
        event = asyncio.Event()
        assert await clock.wait_event(event, 2) is False
        assert clock.monotonic() == 2
        event.set()
        assert await clock.wait_event(event, 0) is True

    asyncio.run(scene())


def test_the_system_clock_is_aware_and_monotonic():
    clock = SystemClock()
    assert clock.now().utcoffset() is not None
    assert clock.monotonic() <= clock.monotonic()
