"""Resolvers that do not answer hold up nobody but who asked for that name, and him no longer than his time."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from millrace.outbound.guard import Guard, UnresolvedError
from millrace.outbound.resolve import MOST, MOST_ADDRESSES, MOST_OF_ONE_DOMAIN, WAIT_S, Resolver
from millrace.runtime.clock import VirtualClock

ADDRESS = "93.184.215.14"
AT_LAST_S = 60.0
"""After which a test that hangs goes on, and fails."""


class Servers:
    """Those of names that begin with `silent` say nothing before `answer` is set; `asked` are all look-ups."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.asked: list[str] = []
        self.watchdog = threading.Timer(AT_LAST_S, self.answer.set)
        self.watchdog.daemon = True
        self.watchdog.start()

    def __call__(self, host: str, _: int) -> Sequence[str]:
        self.asked.append(host)
        if host.startswith("silent"):
            self.answer.wait()
        if host.startswith("none"):
            raise OSError("there is no such name")
        return [ADDRESS]

    def end(self) -> None:
        self.watchdog.cancel()
        self.answer.set()


@pytest.fixture
def servers() -> Servers:
    return Servers()


async def asking(resolver: Resolver, *hosts: str) -> "list[asyncio.Task[Sequence[str]]]":
    """Those who wait for the addresses of these."""
    waiting = [asyncio.create_task(resolver(host, 443)) for host in hosts]
    for _ in range(3):
        await asyncio.sleep(0)  # turns of the loop, no waiting
    return waiting


def test_a_silent_server_holds_up_its_own_names_for_their_time(servers: Servers) -> None:
    async def work() -> None:
        clock = VirtualClock()
        resolver = Resolver(clock=clock, look=servers)
        first, second = await asking(resolver, "silent.example.com", "silent.example.com")
        # Others are served meanwhile.
        assert await resolver("good.example.net", 443) == [ADDRESS]
        with pytest.raises(OSError, match="no such name"):
            await resolver("none.example.net", 443)
        assert not first.done()
        await clock.advance(WAIT_S)
        for one in (first, second):
            with pytest.raises(TimeoutError):
                await one
        assert servers.asked.count("silent.example.com") == 1
        # Who asks again waits for the same answer, and gets it when it comes.
        (again,) = await asking(resolver, "silent.example.com")
        servers.end()
        assert await again == [ADDRESS]
        assert servers.asked.count("silent.example.com") == 1

    asyncio.run(work())


def test_silent_servers_take_a_bounded_number_of_threads_each_domain_a_few(servers: Servers) -> None:
    async def work() -> None:
        clock = VirtualClock()
        resolver = Resolver(clock=clock, look=servers)
        before = threading.active_count()
        waiting = await asking(resolver, *(f"silent{number}.evil.example" for number in range(100)))
        assert threading.active_count() - before == MOST_OF_ONE_DOMAIN
        assert await resolver("good.example", 443) == [ADDRESS]
        waiting += await asking(resolver, *(f"silent.evil{number}.example" for number in range(200)))
        assert threading.active_count() - before == MOST
        await clock.advance(WAIT_S)
        assert all(isinstance(one.exception(), TimeoutError) for one in waiting)
        # When they answer, whoever waits for room gets it.
        (late,) = await asking(resolver, "good.example")
        servers.end()
        assert await late == [ADDRESS]

    asyncio.run(work())


def test_the_end_of_the_program_waits_for_no_answer(servers: Servers) -> None:
    async def work() -> None:
        await asking(Resolver(look=servers), "silent.example.com")

    asyncio.run(work())
    assert not servers.answer.is_set()
    servers.end()


def test_of_thousands_of_addresses_a_few_are_looked_at() -> None:
    everybody = [f"93.184.{number // 256}.{number % 256}" for number in range(5000)]

    async def work() -> int:
        return len(await Resolver(look=lambda *_: everybody)("example.com", 443))

    assert asyncio.run(work()) == MOST_ADDRESSES


def test_who_waits_too_long_is_told_so(servers: Servers) -> None:
    async def work() -> None:
        clock = VirtualClock()
        resolver = Resolver(clock=clock, look=servers)
        places = asyncio.create_task(Guard(resolve=resolver).places("https://silent.example.com/"))
        await clock.settle()
        await clock.advance(WAIT_S)
        with pytest.raises(UnresolvedError, match=r"silent\.example\.com was not resolved in time"):
            await places

    asyncio.run(work())
    servers.end()
