"""Steering, time limits and logs of an attempt, under virtual time."""

import asyncio

import pytest

from millrace.client.errors import StaleError
from millrace.runtime.clock import VirtualClock
from millrace.worker.attempt_log import AttemptLog
from millrace.worker.control import Control, Ending


def test_the_time_limit_stands_still_while_paused():
    async def main():
        clock = VirtualClock()
        control = Control(clock)
        limit = asyncio.create_task(control.until_elapsed(10))
        await clock.advance(4)
        await control.pause()
        await clock.advance(10_000)
        assert not limit.done()
        await control.resume()
        await clock.advance(5.9)
        assert not limit.done()
        await clock.advance(0.2)
        assert limit.done()

    asyncio.run(main())


def test_the_gate_holds_while_paused():
    async def main():
        clock = VirtualClock()
        control = Control(clock)
        await control.gate()
        await control.pause()
        passing = asyncio.create_task(control.gate())
        await clock.settle()
        assert not passing.done()
        await control.resume()
        await passing

    asyncio.run(main())


def test_an_end_that_comes_before_the_work_still_ends_it():
    async def main():
        control = Control(VirtualClock())
        control.end(Ending.HURRY)
        work = asyncio.create_task(asyncio.Event().wait())
        control.runs_in(work)
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(main())


def test_a_later_end_can_only_be_more_urgent():
    async def main():
        control = Control(VirtualClock())
        control.end(Ending.CANCELED)
        assert control.grace_s > 0
        control.end(Ending.HURRY)
        assert control.ending is Ending.CANCELED
        control.end(Ending.LEASE_LOST)
        assert control.ending is Ending.LEASE_LOST
        assert control.grace_s == 0

    asyncio.run(main())


class Shelf:
    """A master's side of a log, which may answer wrongly."""

    def __init__(self):
        self.data = b""
        self.sends = 0
        self.error = None
        self.forget = 0

    async def send(self, offset, data):
        self.sends += 1
        if self.error:
            raise self.error
        if self.forget:
            self.forget, self.data = 0, self.data[: -self.forget]
        if offset <= len(self.data):
            self.data += data[len(self.data) - offset :]
        return len(self.data)


def logged(tmp_path, scenario, **terms):
    async def main():
        clock = VirtualClock(auto_advance=True)
        log = AttemptLog(tmp_path / "log", clock=clock, **terms)
        shelf = Shelf()
        shipping = asyncio.create_task(log.ship(shelf.send))
        try:
            await scenario(log, shelf, clock)
        finally:
            shipping.cancel()
            log.close()

    asyncio.run(main())


def test_a_log_arrives_whole_and_in_order(tmp_path):
    async def scenario(log, shelf, clock):
        for number in range(1000):
            log.write(f"{number}\n")
            if number % 100 == 0:
                await clock.settle()
        await log.flush()
        assert shelf.data.decode().split() == [str(number) for number in range(1000)]
        assert shelf.sends < 20

    logged(tmp_path, scenario)


def test_a_master_that_lost_the_end_of_a_log_gets_it_again(tmp_path):
    async def scenario(log, shelf, clock):
        log.write("first\n")
        await log.flush()
        shelf.forget = 3
        log.write("second\n")
        await log.flush()
        assert shelf.data == b"first\nsecond\n"

    logged(tmp_path, scenario)


def test_a_log_that_the_master_refuses_holds_nothing_up(tmp_path):
    async def scenario(log, shelf, clock):
        shelf.error = StaleError("cannot: it is over", status=409)
        log.write("x\n")
        await log.flush()
        log.write("y\n")
        await log.flush()
        assert shelf.sends == 1

    logged(tmp_path, scenario)


def test_a_log_without_end_is_cut_and_says_so(tmp_path):
    async def scenario(log, shelf, clock):
        for _ in range(100):
            log.write("0123456789\n")
        await log.flush()
        assert shelf.data.endswith(b"... 1001 more bytes are left out: the log is too long\n")
        assert shelf.data.count(b"0123456789") == 9

    logged(tmp_path, scenario, largest_bytes=100)


def test_an_own_line_has_the_time(tmp_path):
    async def scenario(log, shelf, clock):
        log.command("probe", ["/bin/ffmpeg", "-i", "a b.mp4"])
        log.write("engine\n")
        await log.flush()
        assert shelf.data == b"2026-01-01T00:00:00.000Z probe: /bin/ffmpeg -i 'a b.mp4'\nengine\n"

    logged(tmp_path, scenario)
