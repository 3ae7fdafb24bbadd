import asyncio

import pytest

from millrace.runtime.clock import VirtualClock
from millrace.runtime.service import Background, Service, Services, StartInterrupted
from millrace.runtime.ticker import Ticker


class Recorded(Service):
    def __init__(
        self, name: str, log: list[str], *, start_error=None, stop_error=None, gate: asyncio.Event | None = None
    ):
        super().__init__()
        self.name, self.log, self.gate = name, log, gate
        self.start_error, self.stop_error = start_error, stop_error

    async def on_start(self):
        if self.gate is not None:
            await self.gate.wait()
        if self.start_error is not None:
            raise self.start_error
        self.log.append(f"+{self.name}")

    async def on_stop(self):
        self.log.append(f"-{self.name}")
        if self.stop_error is not None:
            raise self.stop_error


def test_start_and_stop_are_idempotent_and_restartable():
    async def scene():
        log: list[str] = []
        service = Recorded("a", log)
        await service.stop()
        assert log == []
        await asyncio.gather(service.start(), service.start())
        await service.start()
        assert service.running
        await asyncio.gather(service.stop(), service.stop())
        await service.stop()
        assert not service.running
        assert log == ["+a", "-a"]
        await service.start()
        await service.stop()
        assert log == ["+a", "-a"] * 2

    asyncio.run(scene())


def test_nesting_gives_the_order_of_stopping():
    async def scene():
        log: list[str] = []
        async with Services(*(Recorded(name, log) for name in "abc")):
            assert log == ["+a", "+b", "+c"]
        assert log[3:] == ["-c", "-b", "-a"]

    asyncio.run(scene())


def test_a_failed_start_stops_what_had_started_and_says_why():
    async def scene():
        log: list[str] = []
        group = Services(Recorded("a", log), Recorded("b", log, start_error=OSError("no port")), Recorded("c", log))
        with pytest.raises(OSError, match="no port"):
            await group.start()
        assert log == ["+a", "-b", "-a"]
        assert not group.running

    asyncio.run(scene())


def test_one_failed_stop_does_not_keep_the_others_running():
    async def scene():
        log: list[str] = []
        group = Services(Recorded("a", log), Recorded("b", log, stop_error=OSError("stuck")), Recorded("c", log))
        await group.start()
        with pytest.raises(ExceptionGroup) as caught:
            await group.stop()
        assert log[3:] == ["-c", "-b", "-a"]
        assert [str(e) for e in caught.value.exceptions] == ["stuck"]

    asyncio.run(scene())


def test_a_stop_interrupts_a_start_that_hangs():
    async def scene():
        log: list[str] = []
        service = Recorded("a", log, gate=asyncio.Event())
        starting = asyncio.create_task(service.start())
        await asyncio.sleep(0)
        await service.stop()
        with pytest.raises(StartInterrupted, match="cannot start"):
            await starting
        assert log == ["-a"]

    asyncio.run(scene())


def test_a_cancelled_start_leaves_nothing_behind():
    async def scene():
        log: list[str] = []
        service = Services(Recorded("a", log), Recorded("b", log, gate=asyncio.Event()))
        starting = asyncio.create_task(service.start())
        await VirtualClock().settle()
        assert log == ["+a"]
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert log == ["+a", "-b", "-a"]

    asyncio.run(scene())


def test_a_cancelled_stop_goes_on_to_its_end():
    async def scene():
        gate, ended = asyncio.Event(), asyncio.Event()

        class Slow(Service):
            async def on_start(self):
                pass

            async def on_stop(self):
                await gate.wait()
                ended.set()

        service = Slow()
        await service.start()
        stopping = asyncio.create_task(service.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        gate.set()
        await service.stop()
        assert ended.is_set()

    asyncio.run(scene())


def test_background_is_ready_when_it_says_so_and_reports_its_own_end():
    async def scene():
        ends: list[BaseException | None] = []
        fail, cleaned = asyncio.Event(), asyncio.Event()

        async def run(ready):
            ready()
            try:
                await fail.wait()
            finally:
                cleaned.set()
            raise ValueError("broke")

        service = Background(run, on_end=ends.append)
        await service.start()
        await service.stop()
        assert cleaned.is_set()
        assert ends == []
        await service.start()
        fail.set()
        await VirtualClock().settle()
        assert str(ends[0]) == "broke"
        await service.stop()

    asyncio.run(scene())


def test_background_that_ends_before_it_is_ready_cannot_start():
    async def scene():
        async def returns(ready):
            pass

        async def raises(ready):
            raise OSError("port taken")

        with pytest.raises(RuntimeError, match="before it was ready"):
            await Background(returns, on_end=lambda _: None).start()
        with pytest.raises(OSError, match="port taken"):
            await Background(raises, on_end=lambda _: None).start()

    asyncio.run(scene())


def ticker(clock, tick, errors=None, **more):
    return Ticker(tick, interval_s=10, clock=clock, on_error=(errors if errors is not None else []).append, **more)


def test_a_ticker_keeps_its_rhythm_and_survives_errors():
    async def scene():
        clock, times, errors = VirtualClock(), [], []

        async def tick():
            times.append(clock.monotonic())
            await clock.sleep(3)
            if len(times) == 2:
                raise ValueError("bad tick")

        async with ticker(clock, tick, errors):
            await clock.advance(35)
        assert times == [0, 10, 20, 30]
        assert [str(e) for e in errors] == ["bad tick"]

    asyncio.run(scene())


def test_a_slow_tick_skips_beats_and_never_overlaps():
    async def scene():
        clock, times = VirtualClock(), []

        async def tick():
            times.append(clock.monotonic())
            await clock.sleep(25)

        service = ticker(clock, tick)
        await service.start()
        await clock.advance(100)
        stop = asyncio.create_task(service.stop())
        await clock.advance(100)
        await stop
        assert times == [0, 30, 60, 90]

    asyncio.run(scene())


def test_wake_ticks_now_and_stop_waits_for_the_running_tick():
    async def scene():
        clock, log = VirtualClock(), []

        async def tick():
            log.append("begin")
            await clock.sleep(5)
            log.append("end")

        service = ticker(clock, tick, immediately=False)
        await service.start()
        await clock.advance(1)
        assert log == []
        service.wake()
        await clock.settle()
        assert log == ["begin"]
        stopping = asyncio.create_task(service.stop())
        await clock.settle()
        assert not stopping.done()
        await clock.advance(5)
        await stopping
        assert log == ["begin", "end"]

    asyncio.run(scene())


def test_tick_now_waits_for_a_tick_that_began_after_the_call():
    async def scene():
        clock, begun = VirtualClock(auto_advance=True), []

        async def tick():
            begun.append(clock.monotonic())
            await clock.sleep(1)

        service = ticker(clock, tick)
        await service.start()
        await clock.settle()
        count = len(begun)
        await service.tick_now()
        assert len(begun) >= count + 1
        await service.stop()
        await service.tick_now()

    asyncio.run(scene())
