"""A store of each kind, started and empty, for the tests of the contract."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from store_samples import HandClock

from millrace.domain.records import Transition
from millrace.store.open import open_store
from millrace.store.store import Store


class Farm(Protocol):
    """One kind of store on one loop: `run` drives a coroutine, `advance` lets the store's time pass."""

    kind: str
    store: Store

    def run(self, work: Coroutine[Any, Any, Any]) -> Any: ...

    def advance(self, seconds: float) -> None: ...


class SqliteFarm:
    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self.path = folder / "farm.db"
        self.store = open_store(self.path, clock=self.clock)
        self.runner = asyncio.Runner()
        self.run(self.store.start())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def events(self, count: int, after: str | None = None) -> list[Transition]:
        """Wait until so many events stand after the cursor; a transaction elsewhere may hold them back."""
        while len(found := await self.store.events(after=after, limit=100)) < count:  # noqa: ASYNC110  nothing tells it
            await asyncio.sleep(0)  # one turn of the loop, no waiting
        return list(found)

    def close(self) -> None:
        self.run(self.store.stop())
        self.runner.close()


@pytest.fixture(params=["sqlite"])
def farm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Farm]:
    farm = SqliteFarm(tmp_path)
    yield farm
    farm.close()
