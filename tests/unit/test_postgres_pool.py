"""Which connections a master lends to whom, and which server of a URL it asks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import pytest

from millrace.store.postgres import connect as connecting
from millrace.store.postgres import pool as pools
from millrace.store.postgres.connect import HOT_SETTINGS, Servers, servers
from millrace.store.postgres.pool import LEAST, Pool, share
from millrace.store.postgres.silence import Silence
from millrace.store.store import StoreUnavailableError


@pytest.mark.parametrize(
    ("most", "room", "masters", "each"),
    [(8, 97, 1, 8), (8, 97, 4, 8), (8, 17, 1, 8), (8, 17, 2, 7), (8, 17, 3, 5), (8, 17, 4, LEAST), (8, 17, 9, LEAST)],
)
def test_masters_share_what_a_server_lets_in(most: int, room: int, masters: int, each: int) -> None:
    assert share(most, room=room, masters=masters) == each


class Connection:
    """One that is asked for nothing but to change how it plans."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = settings
        self.said: list[str] = []
        self.closed = False

    async def execute(self, sql: str) -> None:
        self.said.append(sql)

    def is_closed(self) -> bool:
        return self.closed

    def terminate(self) -> None:
        self.closed = True


class Server:
    """Lets so many in."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.opened: list[Connection] = []
        self.refused = 0

    @property
    def open(self) -> list[Connection]:
        return [one for one in self.opened if not one.closed]

    async def connect(self, settings: Mapping[str, str]) -> Connection:
        if len(self.open) >= self.room:
            self.refused += 1
            raise asyncpg.TooManyConnectionsError("sorry, too many clients already")
        self.opened.append(Connection(settings))
        return self.opened[-1]


def pool_test(work: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(work())  # type: ignore[arg-type]

    run.__name__ = work.__name__
    return run


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def holding(pool: Pool, let_go: asyncio.Event, *, hot: bool) -> Connection:
    async with pool.lend(hot=hot) as connection:
        await let_go.wait()
        return connection  # type: ignore[no-any-return]


@pool_test
async def test_one_place_is_left_for_the_other_kind() -> None:
    server, let_go = Server(), asyncio.Event()
    pool = Pool(server.connect, most=3)
    reads = [asyncio.create_task(holding(pool, let_go, hot=False)) for _ in range(4)]
    await turns()
    assert (pool.used.busy, pool.used.waiting) == (2, 2)
    # A claim passes by the reads that wait, and a second one does not.
    claims = [asyncio.create_task(holding(pool, let_go, hot=True)) for _ in range(2)]
    await turns()
    assert (pool.used.busy, pool.used.waiting, len(server.open)) == (3, 3, 3)
    let_go.set()
    await asyncio.gather(*reads, *claims)
    assert (pool.used.busy, pool.used.waiting) == (0, 0)
    assert len(server.open) <= 3


@pool_test
async def test_the_kinds_keep_their_connections_while_there_is_room() -> None:
    server = Server()
    pool = Pool(server.connect, most=3)
    for hot in (True, False, True, False, True):
        async with pool.lend(hot=hot) as connection:
            assert (connection.settings is HOT_SETTINGS) is hot
            assert connection.said == []
    assert len(server.open) == 2


@pool_test
async def test_where_there_is_no_room_a_connection_of_the_other_kind_serves() -> None:
    server = Server(room=1)
    pool = Pool(server.connect, most=3)
    async with pool.lend(hot=False):
        pass
    async with pool.lend(hot=True) as connection:
        assert connection.said == ["SET plan_cache_mode = force_generic_plan"]
    assert len(server.opened) == 1


@pool_test
async def test_a_server_that_is_full_is_asked_again_until_somebody_gives_a_connection_back() -> None:
    server, let_go = Server(room=1), asyncio.Event()
    pool = Pool(server.connect, most=3)
    first = asyncio.create_task(holding(pool, let_go, hot=False))
    await turns()
    second = asyncio.create_task(holding(pool, let_go, hot=False))
    while not server.refused:
        await asyncio.sleep(0)
    let_go.set()
    assert await first is await second


def test_a_server_that_stays_full_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "WAIT_S", 0.01)

    async def work() -> None:
        pool = Pool(Server(room=0).connect, most=3)
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await holding(pool, asyncio.Event(), hot=True)
        assert pool.used.busy == 0

    asyncio.run(work())


def test_who_waits_for_long_is_sent_home_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "WAIT_S", 0.01)

    async def work() -> None:
        let_go = asyncio.Event()
        pool = Pool(Server().connect, most=2)
        holds = asyncio.create_task(holding(pool, let_go, hot=False))
        await turns()
        with pytest.raises(StoreUnavailableError, match="all 2 connections were busy"):
            await holding(pool, let_go, hot=False)
        given_up = asyncio.create_task(holding(pool, let_go, hot=False))
        await turns()
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert (pool.used.busy, pool.used.waiting) == (1, 0)
        assert pool.used.waited_s > 0
        let_go.set()
        await holds
        assert pool.used.busy == 0
        assert (await holding(pool, let_go, hot=False)).closed is False

    asyncio.run(work())


@pool_test
async def test_a_smaller_share_is_reached_as_connections_come_back() -> None:
    server, let_go = Server(), asyncio.Event()
    pool = Pool(server.connect, most=7)
    holds = [asyncio.create_task(holding(pool, let_go, hot=number < 3)) for number in range(6)]
    await turns()
    assert len(server.open) == 6
    pool.limit(2)
    let_go.set()
    await asyncio.gather(*holds)
    assert len(server.open) == 2
    pool.close()
    assert server.open == []


@pool_test
async def test_a_connection_that_met_more_than_an_answer_is_hung_up() -> None:
    server = Server()
    pool = Pool(server.connect, most=3)
    for error, stays in ((asyncpg.UniqueViolationError("taken"), 1), (OSError("reset"), 0)):
        with pytest.raises(type(error)):
            async with pool.lend(hot=True):
                raise error
        assert len(server.open) == stays


@pool_test
async def test_in_a_silence_nobody_waits() -> None:
    silence, never = Silence(), asyncio.Event()
    silence.check()
    doing = asyncio.create_task(never.wait())
    assert not await silence.wait(doing, 0.001)
    waiting = asyncio.create_task(silence.wait(doing, None))
    await turns()
    silence.begin(StoreUnavailableError("cannot reach it", why="it sleeps"))
    with pytest.raises(StoreUnavailableError) as error:
        await waiting
    assert error.value.why == "it sleeps"
    silence.begin(StoreUnavailableError("cannot reach it", why="it is gone"))
    with pytest.raises(StoreUnavailableError) as error:
        silence.check()
    assert error.value.why == "it is gone"
    # A write that was under way may be done all the same, a read is broken off.
    silence.end()
    silence.check()
    never.set()
    assert await silence.wait(doing, None)
    broken = asyncio.Event()

    async def read() -> None:
        async with silence.ends():
            try:
                await asyncio.Event().wait()
            finally:
                broken.set()

    reading = asyncio.create_task(read())
    await turns()
    silence.begin(StoreUnavailableError("cannot reach it", why="it sleeps"))
    with pytest.raises(StoreUnavailableError):
        await reading
    assert broken.is_set()
    with pytest.raises(StoreUnavailableError):
        await read()


def test_a_url_names_one_server_or_several() -> None:
    assert servers("postgresql://u:p@a:1,b:2/db?x=1") == ("postgresql://u:p@a:1/db?x=1", "postgresql://u:p@b:2/db?x=1")
    assert servers("postgresql://a/db") == ("postgresql://a/db",)
    assert servers("postgresql:///db?host=/tmp/x") == ("postgresql:///db?host=/tmp/x",)


def test_the_server_that_took_writes_last_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    primary = "b"
    standby = asyncpg.TargetServerAttributeNotMatched("a standby")

    class Linked(Connection):
        _transport = type("", (), {"get_extra_info": staticmethod(lambda _: None)})

    async def connect(url: str, **more: Any) -> Connection:
        assert more["target_session_attrs"] == "read-write"
        assert more["timeout"] == connecting.CONNECT_S
        asked.append(url[-3])
        if url[-3] != primary:
            raise standby if url[-3] == "a" else ConnectionRefusedError
        return Linked({})

    monkeypatch.setattr(connecting.asyncpg, "connect", connect)

    async def work() -> None:
        nonlocal primary
        known = Servers("postgresql://a,b,c/d")
        await known.connect()
        await known.connect()
        assert asked == ["a", "b", "b"]
        primary = "nobody"
        asked.clear()
        with pytest.raises(asyncpg.TargetServerAttributeNotMatched):  # which says more than that others are not there
            await known.connect()
        assert asked == ["b", "c", "a"]

    asyncio.run(work())
