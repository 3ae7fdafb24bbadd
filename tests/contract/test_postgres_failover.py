"""A store on a PostgreSQL with a real standby: the primary is killed, stands still, or is followed by one that lacks something."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from store_samples import NEEDS, a_job, a_move, a_node, queue_jobs

from bench.postgres_pair import USER, Pair, scratch
from millrace.domain.records import Outcome
from millrace.domain.states import State
from millrace.store.open import open_store
from millrace.store.postgres import connect, connection
from millrace.store.postgres.errors import STANDBYS
from millrace.store.postgres.history import LOST, OUTDATED
from millrace.store.store import SILENT, Store, StoreError, StoreUnavailableError

LONG_S = 60.0


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary and a synchronous standby."""
    with scratch() as folder, Pair(folder, synchronous=True) as pair:
        yield pair


@pytest.fixture(scope="module")
def lasting_pair() -> Iterator[Pair]:
    """The same, for tests that leave it as they found it."""
    with scratch() as folder, Pair(folder, synchronous=True) as pair:
        yield pair


@asynccontextmanager
async def started(url: str, **more: Any) -> AsyncIterator[Store]:
    store = open_store(url, **more)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def until_it_answers(call: Callable[[], Awaitable[Any]]) -> Any:
    """What the call gives, once the database is back."""
    async with asyncio.timeout(LONG_S):
        while True:
            try:
                return await call()
            except StoreUnavailableError:
                await asyncio.sleep(0.02)  # nobody tells when a server is back


async def until_refused(call: Callable[[], Awaitable[Any]], why: str) -> None:
    """Call until it is refused for this reason, and go on where it is refused for another one, or not."""
    async with asyncio.timeout(LONG_S):
        while True:
            try:
                await call()
            except StoreUnavailableError as error:
                if error.why == why:
                    return
            await asyncio.sleep(0.02)  # nobody tells when a server notices


def test_what_was_answered_outlives_the_primary(pair: Pair) -> None:
    async def work() -> None:
        async with started(pair.url()) as store:
            class_id = await store.class_of(NEEDS)
            tasks = await queue_jobs(store, 3)
            node = await store.register(a_node())
            asked = {"node_id": node.id, "epoch": 1, "request_id": "r", "classes": [class_id], "limit": 2}
            given = await store.claim(**asked)
            assert given is not None
            ended = a_move(
                tasks[0], State.COMPLETED, attempt=1, node_id=node.id, outcome=Outcome.COMPLETED, release=True
            )
            assert await store.move([ended]) == [True]
            tried, accepted = 0, 0

            async def submits() -> None:
                nonlocal tried, accepted
                tried += 1
                await queue_jobs(store, 1)
                accepted += 1

            pair.primary.kill()
            await until_refused(submits, STANDBYS)
            await until_refused(store.ping, STANDBYS)
            pair.promote()
            await until_it_answers(store.ping)
            # Its processes end one after the other, and one may take a job before it notices.
            counts = dict(await store.count_jobs())
            assert accepted <= counts.pop(State.QUEUED) - 1 <= tried
            assert counts == {State.ASSIGNED: 1, State.COMPLETED: 1}
            again = await until_it_answers(lambda: store.claim(**asked))
            assert [(one.task_id, one.attempt) for one in again] == [(tasks[1], 1)]
            assert await store.move([ended]) == [False]
            await queue_jobs(store, 1)

    asyncio.run(work())


def test_a_standby_that_lacks_what_was_answered_is_refused(pair: Pair) -> None:
    async def work() -> None:
        async with started(pair.url()) as store, started(pair.url(), may_lose=True) as careless:
            await queue_jobs(store, 1)
            pair.primary.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
            pair.primary.sql("SELECT pg_reload_conf()")
            pair.part()
            lost = a_job(await store.class_of(NEEDS))
            await until_it_answers(lambda: store.add_jobs([lost]))
            await until_it_answers(lambda: careless.add_jobs([a_job(lost.class_id)]))
            pair.primary.kill()
            pair.promote()
            await until_refused(store.ping, LOST)
            with pytest.raises(StoreUnavailableError):
                await queue_jobs(store, 1)
            # Another one was told that it may.
            assert await until_it_answers(careless.count_jobs) == {State.QUEUED: 1}
            with pytest.raises(StoreUnavailableError):
                await store.count_jobs()

    asyncio.run(work())


def test_a_primary_in_whose_place_another_was_promoted_is_refused(pair: Pair) -> None:
    async def work() -> None:
        async with started(pair.url()) as store:
            pair.primary.kill()
            pair.promote()
            await until_it_answers(lambda: queue_jobs(store, 1))
            pair.standby.kill()
            pair.primary.start()
            await until_refused(store.ping, OUTDATED)
            pair.standby.start()
            assert await until_it_answers(store.count_jobs) == {State.QUEUED: 1}

    asyncio.run(work())


def test_a_standby_that_is_not_synchronous_is_refused_unless_allowed() -> None:
    async def work(pair: Pair) -> None:
        with pytest.raises(StoreError, match="name it in synchronous_standby_names"):
            await open_store(pair.url()).start()
        assert pair.primary.sql("SELECT to_regclass('jobs') IS NULL", pair.database) == "t"  # and nothing was changed
        async with started(pair.url(), may_lose=True) as store:
            await queue_jobs(store, 1)
        # With one server in the URL nobody fails over: the standby may be there for reports.
        async with started(pair.primary.url("farm", user=USER)) as store:
            assert await store.count_jobs() == {State.QUEUED: 1}

    with scratch() as folder, Pair(folder, synchronous=False) as pair:
        asyncio.run(work(pair))


def test_a_server_that_stands_still_holds_nobody_up(lasting_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "ANSWER_S", 10 * LONG_S)

    async def work() -> None:
        async with started(lasting_pair.url()) as store:
            await queue_jobs(store, 1)
            lasting_pair.primary.pause()
            waiting = [asyncio.create_task(one) for one in (store.ping(), queue_jobs(store, 1), store.count_jobs())]
            # It is not waited for as long as for any other answer, nor until its connections break.
            refused = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), LONG_S)
            assert {type(one) for one in refused} == {StoreUnavailableError}
            with pytest.raises(StoreUnavailableError) as error:
                await store.ping()
            assert error.value.why == SILENT
            lasting_pair.primary.resume()
            await until_it_answers(lambda: queue_jobs(store, 1))

    asyncio.run(work())


def test_both_ends_of_a_connection_notice_that_the_other_is_gone(lasting_pair: Pair) -> None:
    async def work() -> None:
        linked = await connect.connect(lasting_pair.primary.url())
        end = linked._transport.get_extra_info("socket")
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 2
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4000
        there = "SELECT current_setting('tcp_user_timeout'), current_setting('tcp_keepalives_idle')"
        assert tuple(await linked.fetchrow(there)) == ("4000", "2")
        await linked.close()

    asyncio.run(work())


def test_commits_that_wait_for_a_standby_keep_their_connections(
    lasting_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with started(lasting_pair.url(), connections=4) as store:
            await queue_jobs(store, 1)
            monkeypatch.setattr(connection, "PATIENCE_S", 0.2)
            monkeypatch.setattr(connection, "STUCK_S", 0.1)
            lasting_pair.standby.pause()
            for number in range(8):
                with pytest.raises(StoreUnavailableError):
                    await store.register(a_node(id=f"n{number}", fingerprint=f"f{number}"))
            # The server has not one connection more for it, and who asks for the database's health is told.
            assert (
                int(
                    lasting_pair.primary.sql(
                        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'millrace'"
                    )
                )
                <= 4
            )
            with pytest.raises(StoreUnavailableError, match="no answer"):
                await store.ping()
            monkeypatch.undo()
            lasting_pair.standby.resume()
            await until_it_answers(store.ping)
            await until_it_answers(lambda: store.register(a_node(id="last", fingerprint="last")))
            assert {one.id for one in await store.nodes()} >= {"n0", "last"}  # what waited is done

    asyncio.run(work())
