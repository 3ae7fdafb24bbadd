"""A store of each kind, started and empty, for the tests of the contract."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import pytest
from ready_made import put_sqlite

from millrace.domain.records import Transition
from millrace.runtime.clock import SystemClock, VirtualClock
from millrace.store.open import open_store
from millrace.store.store import Store

_SHIFT = """
CREATE OR REPLACE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE
AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint + {shift}'
"""


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


class Farm(Protocol):
    """One kind of store on one loop: `run` drives a coroutine, `advance` lets the store's time pass."""

    kind: str
    store: Store

    def run(self, work: Coroutine[Any, Any, Any]) -> Any: ...

    async def advance(self, seconds: float) -> None: ...

    async def events(self, count: int, after: str | None = None) -> list[Transition]: ...

    def another(self) -> Store: ...

    def close(self) -> None: ...


class OneLoop:
    """What both farms share: an event loop of their own."""

    store: Store

    def __init__(self) -> None:
        self.runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def events(self, count: int, after: str | None = None) -> list[Transition]:
        """Wait until so many events stand after the cursor; a transaction elsewhere may hold them back."""
        while len(found := await self.store.events(after=after, limit=100)) < count:
            await asyncio.sleep(0)  # one turn of the loop, no waiting
        return list(found)

    def close(self) -> None:
        self.run(self.store.stop())
        self.runner.close()


class SqliteFarm(OneLoop):
    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.path = put_sqlite(folder / "farm.db")
        self.store = self.another()
        self.run(self.store.start())

    async def advance(self, seconds: float) -> None:
        self.clock.step_wall(seconds)

    def another(self) -> Store:
        return open_store(self.path, clock=self.clock)


class PostgresFarm(OneLoop):
    """A database of its own on the session's server. Its `now_ms()` is shifted, so that time passes without waiting."""

    kind = "postgres"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.shift_ms = 0
        self.store = self.another()
        self.run(self.store.start())

    async def advance(self, seconds: float) -> None:
        self.shift_ms += round(seconds * 1000)
        await _execute(self.url, _SHIFT.format(shift=self.shift_ms))

    def another(self) -> Store:
        return open_store(self.url, clock=SystemClock())


async def _migrate(url: str) -> None:
    store = open_store(url)
    await store.start()
    await store.stop()


@pytest.fixture(scope="session")
def postgres_schema(postgres_url: str, worker_id: str) -> str:
    """The name of an empty database of today's schema, to which nobody is connected (see `ready_made`)."""
    name = f"schema_{worker_id}"
    asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name}"))
    asyncio.run(_migrate(postgres_url.replace("/postgres?", f"/{name}?")))
    return name


@pytest.fixture(params=["sqlite", "postgres"])
def farm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Farm]:
    """A started, empty store."""
    farm: Farm
    if request.param == "sqlite":
        farm = SqliteFarm(tmp_path)
    else:
        farm = PostgresFarm(request.getfixturevalue("new_database")(request.getfixturevalue("postgres_schema")))
    yield farm
    farm.close()
