"""Masters of two versions on one database: what adds runs at once, what takes away when nobody needs it any more."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from millrace.domain.masters import Presence
from millrace.store.migrate import Migration, load_migrations, may_run, missing, waiting
from millrace.store.open import open_store
from millrace.store.postgres import masters, schema
from millrace.store.store import SchemaTooNewError, StoreError

TTL_S = 4.0
GATE = 4711  # of an advisory lock
KNOWN = load_migrations(schema.PACKAGE)
NEWEST = KNOWN[-1].version
ADDS = Migration(version=NEWEST + 1, name="adds", statements=("CREATE TABLE added (one integer)",))
TAKES = Migration(
    version=NEWEST + 2, name="post_takes", statements=(f"SELECT pg_advisory_xact_lock({GATE})", "DROP TABLE added")
)


def step(version: int, name: str) -> Migration:
    return Migration(version=version, name=name, statements=())


def a_master(name: str) -> Presence:
    return Presence(id=name, name=name, version="1")


def test_what_adds_comes_before_what_takes_away() -> None:
    known = [step(1, "first"), step(2, "post_b"), step(3, "c"), step(4, "post_d")]
    assert [one.version for one in missing({1: "first"}, known)] == [3, 2, 4]
    assert [one.version for one in missing({1: "first", 3: "c"}, known)] == [2, 4]
    assert waiting({1: "first", 3: "c"}) == (2,)
    assert waiting({}) == ()


def test_a_newer_database_is_worked_on_until_something_was_taken_away() -> None:
    known = [step(1, "first")]
    assert missing({1: "first", 2: "more", 3: "and_more"}, known) == []
    with pytest.raises(SchemaTooNewError, match="version 3 and this Millrace knows versions up to 1"):
        missing({1: "first", 2: "more", 3: "post_less", 4: "yet_more"}, known)


def test_what_takes_away_waits_for_every_master_that_does_not_know_it() -> None:
    assert may_run(step(5, "post_x"), [])
    assert may_run(step(5, "post_x"), [5, 7])
    assert not may_run(step(5, "post_x"), [5, 4])
    assert may_run(step(5, "adds"), [4])


@contextmanager
def upgraded(*modules: ModuleType) -> Iterator[None]:
    """What runs within it is of the next version: all of it, or these modules."""
    with pytest.MonkeyPatch.context() as patch:
        for module in modules or (schema, masters):
            patch.setattr(module, "load_migrations", lambda _: (*KNOWN, ADDS, TAKES))
        yield


class Database:
    """One on which masters of both versions are started."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.opened: list[Any] = []

    async def start(self) -> Any:
        store = open_store(self.url)
        await store.start()
        self.opened.append(store)
        return store

    async def versions(self) -> set[int]:
        connection = await asyncpg.connect(self.url)
        found = {row["version"] for row in await connection.fetch("SELECT version FROM schema_migrations")}
        await connection.close()
        return found - set(range(NEWEST + 1))

    def run(self, work: Callable[[], Any]) -> None:
        async def all_of_it() -> None:
            try:
                await work()
            finally:
                for store in self.opened:
                    with suppress(StoreError):
                        await store.stop()

        asyncio.run(all_of_it())


@pytest.fixture
def database(new_database: Callable[[], str]) -> Database:
    return Database(new_database())


def test_masters_of_two_versions_work_side_by_side_and_the_last_of_the_old_makes_room(database: Database) -> None:
    async def work() -> None:
        old = await database.start()
        await old.attend(a_master("old"), ttl_s=TTL_S)
        with upgraded():
            new = await database.start()
            await new.attend(a_master("new"), ttl_s=TTL_S)
        assert await database.versions() == {ADDS.version}
        await old.attend(a_master("old"), ttl_s=TTL_S)
        await database.start()  # one of the old version may start again meanwhile
        with upgraded():
            await database.start()
        assert await database.versions() == {ADDS.version}, "the old one lives"
        await old.leave("old")
        with upgraded():
            await database.start()
        assert await database.versions() == {ADDS.version, TAKES.version}
        with pytest.raises(SchemaTooNewError, match="upgrade Millrace"):
            await database.start()

    database.run(work)


def test_a_master_that_comes_while_something_is_taken_away_is_refused(database: Database) -> None:
    async def work() -> None:
        late = await database.start()  # it has looked at the schema, and has not said yet that it lives
        gate = await asyncpg.connect(database.url)
        await gate.fetchval(f"SELECT pg_advisory_lock({GATE})")
        with upgraded(schema):
            new = asyncio.create_task(database.start())
            await waits_for_a_lock(gate, "advisory")
            says = asyncio.create_task(late.attend(a_master("late"), ttl_s=TTL_S))
            await waits_for_a_lock(gate, "relation")
            await gate.close()
            await new
        with pytest.raises(SchemaTooNewError, match="upgrade Millrace"):
            await says

    database.run(work)


async def waits_for_a_lock(connection: Any, kind: str) -> None:
    async with asyncio.timeout(30):
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = $1"
            " AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())",
            kind,
        ):
            await asyncio.sleep(0)
