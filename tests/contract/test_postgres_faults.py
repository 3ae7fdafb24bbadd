"""A database that fails in the middle of something, and how often what was asked of it is done then: once."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest
from cut_line import Cut, CutLine
from store_samples import a_node, queue_jobs

from millrace.domain.masters import TERM_S, Presence
from millrace.domain.records import Node
from millrace.domain.states import State
from millrace.runtime.clock import SystemClock
from millrace.scheduler import claim, nodes, report
from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import Offers
from millrace.scheduler.submit import Caller, submit
from millrace.store.open import open_store
from millrace.store.postgres import errors
from millrace.store.store import Store, StoreError, StoreUnavailableError
from millrace.wire.v1.jobs import JobRequest


@pytest.fixture
def url(new_database: Any) -> str:
    return str(new_database())


class Master:
    """A master's verbs on a store behind a line that can be cut."""

    def __init__(self, store: Store, line: CutLine) -> None:
        self.line = line
        self.farm = Farm(store=store, clock=SystemClock())
        self.offers = Offers(store)

    async def submit(self, key: str) -> str:
        request = JobRequest(scenario="720p30-h264")
        return (await submit(self.farm, request, caller=Caller(), idempotency_key=key)).id

    async def register(self, name: str) -> Node:
        facts = {"engines": ["ffmpeg"], "encoders": {"libx264": "", "aac": ""}, "memory_mb": 1000}
        who = {"fingerprint": f"print-{name}", "boot_id": "boot-0001", "name": name, "slots": 4}
        return await nodes.register(self.farm, self.offers, labels={}, facts=facts, **who)

    async def claim(self, node: Node, request: str) -> list[tuple[str, int]]:
        asked = {"node_id": node.id, "epoch": node.epoch, "request_id": request, "limit": 1, "wait_s": 0}
        return [(one.task_id, one.attempt) for one in await claim.claim(self.farm, self.offers, **asked)]

    async def complete(self, node: Node, task_id: str) -> State:
        ended = await report.complete(self.farm, task_id, node_id=node.id, attempt=1, outputs=(), facts={})
        return ended.state

    async def twice(self, ask: Callable[[], Awaitable[Any]], where: Cut) -> Any:
        """Ask, with the line cut inside COMMIT, and again as clients do; the second answer."""
        cuts = self.line.cuts
        self.line.cut(where)
        with pytest.raises(StoreUnavailableError):
            await ask()
        assert self.line.cuts == cuts + 1
        return await ask()


@asynccontextmanager
async def cut_off(url: str, folder: Path) -> AsyncIterator[Master]:
    parts = urlsplit(url)
    line = CutLine(Path(parse_qs(parts.query)["host"][0]))
    store = open_store(urlunsplit(parts._replace(query=f"host={folder}")))
    async with line.open(folder):
        await store.start()
        try:
            yield Master(store, line)
        finally:
            await store.stop()


@pytest.mark.parametrize("where", list(Cut))
def test_what_was_lost_in_its_commit_is_done_once(url: str, where: Cut) -> None:
    async def work(folder: Path) -> None:
        async with cut_off(url, folder) as master:
            await master.submit("before")  # the class is known from here on
            job = await master.twice(lambda: master.submit("key"), where)
            node = await master.twice(lambda: master.register("one"), where)
            assert [one.id for one in await master.farm.store.nodes()] == [node.id]
            (first,) = await master.twice(lambda: master.claim(node, "request-1"), where)
            (second,) = await master.claim(node, "request-2")
            assert {first[0], second[0]} >= {f"{job}.1"}
            assert (first[1], second[1]) == (1, 1)
            assert await master.twice(lambda: master.complete(node, first[0]), where) is State.COMPLETED
            counted = await master.farm.store.count_jobs()
            assert counted == {State.ASSIGNED: 1, State.COMPLETED: 1}
            ended = first[0].partition(".")[0]
            history = [one.target for one in await master.farm.store.transitions(ended)]
            assert history == ["queued", "assigned", "completed"]
            assert len(await master.farm.store.attempts(ended)) == 1

    with tempfile.TemporaryDirectory(prefix="mr") as folder:  # a socket's path has room for 107 bytes
        asyncio.run(work(Path(folder)))


async def _started(url: str) -> Any:
    store = open_store(url)
    await store.start()
    return store


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_who_lost_to_a_rival_tries_again_after_a_moment(
    url: str, sqlstate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    real = errors._RIVALS.wait_s

    class Counting:
        def wait_s(self, failures: int, draw: Any) -> float:
            waits.append(failures)
            return real(failures, draw)

    monkeypatch.setattr(errors, "_RIVALS", Counting())

    async def work() -> None:
        store = await _started(url)
        rival = await asyncpg.connect(url)
        # Twice it fails with that state, as rivals would make it; a sequence keeps count although its transaction does not.
        await rival.execute(
            "CREATE SEQUENCE tries; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF nextval('tries') < 3 THEN RAISE SQLSTATE '{sqlstate}'; END IF; RETURN NEW; END $$;"
            " CREATE TRIGGER fail BEFORE INSERT ON nodes FOR EACH ROW EXECUTE FUNCTION fail();"
            " CREATE TRIGGER fail BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION fail()"
        )
        await store.register(a_node())
        await rival.execute("ALTER SEQUENCE tries RESTART")
        await queue_jobs(store, 1)
        assert waits == [1, 2, 1, 2]
        assert await store.count_jobs() == {State.QUEUED: 1}
        # Who loses for ever is told at last.
        await rival.execute("ALTER SEQUENCE tries MINVALUE -1000 RESTART WITH -1000")
        with pytest.raises(StoreError, match="cannot write"):
            await store.register(a_node())
        await rival.close()
        await store.stop()

    asyncio.run(work())


def test_a_lock_that_others_hold_for_long_is_not_waited_for_without_end(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.store.postgres import pool

    monkeypatch.setattr(pool, "SETTINGS", pool.SETTINGS | {"lock_timeout": "50"})

    async def work() -> None:
        store = await _started(url)
        node = await store.register(a_node())
        rival = await asyncpg.connect(url)
        async with rival.transaction():
            await rival.execute("SELECT FROM nodes FOR UPDATE")
            with pytest.raises(StoreUnavailableError) as error:
                await store.register(a_node(fingerprint=node.fingerprint))
            assert error.value.why == "others hold a lock for long"
        await store.register(a_node(fingerprint=node.fingerprint))
        await rival.close()
        await store.stop()

    asyncio.run(work())


def test_a_master_that_stands_still_in_a_transaction_does_not_keep_others_from_leading(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.store.postgres import pool

    assert float(pool.SETTINGS["idle_in_transaction_session_timeout"]) / 1000 < TERM_S
    monkeypatch.setattr(pool, "SETTINGS", pool.SETTINGS | {"idle_in_transaction_session_timeout": "50"})

    async def work() -> None:
        one, other = await _started(url), await _started(url)
        led = asyncio.Event()
        holds = asyncio.Event()

        async def stands_still(session: Any) -> None:
            await session.run("take_term", "one", 1)
            holds.set()
            await led.wait()

        standing = asyncio.create_task(one._write(stands_still))
        await holds.wait()
        attendance = await other.attend(Presence(id="other", name="o", version="1"), ttl_s=TERM_S)
        assert attendance.leader == "other"
        led.set()
        with pytest.raises(StoreUnavailableError):
            await standing
        assert (await other.attendance(ttl_s=TERM_S)).leader == "other"
        await one.stop()
        await other.stop()

    asyncio.run(work())


def test_a_backend_that_is_ended_within_a_transaction_leaves_nothing_half(url: str) -> None:
    async def work() -> None:
        store = await _started(url)
        rival = await asyncpg.connect(url)
        async with rival.transaction():
            await rival.execute("LOCK TABLE node_facts")  # what a registration writes second
            registering = asyncio.create_task(store.register(a_node()))
            ended = 0
            while not ended:
                ended = await rival.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE NOT granted"
                    " AND relation = 'node_facts'::regclass"
                )
            with pytest.raises(StoreUnavailableError):
                await registering
        assert list(await store.nodes()) == []
        await store.register(a_node())
        assert len(await store.nodes()) == 1
        await rival.close()
        await store.stop()

    asyncio.run(work())
