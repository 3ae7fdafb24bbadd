"""A keeper that runs with real processes, and what is seen of it."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from millrace.process.look import read_process
from millrace.process.values import Batch
from millrace.runtime.clock import SystemClock
from millrace.supervisor.keeper import Keeper, News
from millrace.supervisor.plan import Plan
from millrace.supervisor.plan_document import plan_from
from millrace.supervisor.state import Id, Instance, Phase, Reloaded, Replanned, Rolled

PATIENCE_S = 60.0


class Stage:
    """A keeper that runs, and what was seen of it."""

    def __init__(self, plan: Plan, cwd: Path) -> None:
        self.lines: list[tuple[str, str]] = []
        self.changes: list[tuple[str, Phase, bool]] = []
        self.told: list[str] = []
        self.reloads = 0
        self._news = asyncio.Event()
        self.keeper = Keeper(
            plan, clock=SystemClock(), chance=random.Random(1), environ=dict(os.environ), cwd=cwd,
            output=self._output, changed=self._changed, told=self._tell,
        )  # fmt: skip
        self.run = asyncio.create_task(self.keeper.run())
        self.run.add_done_callback(lambda _: self._news.set())

    async def _output(self, each: Id, batch: Batch) -> None:
        # A shell says `Terminated` of a child that got the signal before it.
        self.lines += [(str(each), line.text) for line in batch.lines if line.text != "Terminated"]
        self._news.set()

    def _changed(self, each: Id, instance: Instance | None) -> None:
        if instance is not None:
            self.changes.append((str(each), instance.phase, instance.ready))
        self._news.set()

    def _tell(self, news: News) -> None:
        if isinstance(news, Reloaded):
            self.told.append(f"{news.reload.number} {news.reload.outcome}")
        elif isinstance(news, Rolled):
            self.told.append(f"{news.process} {news.halted or 'rolled'}")
        self._news.set()

    def reload(self, text: str) -> None:
        """Keep this plan from now on."""
        self.reloads += 1
        self.keeper.post(Replanned(plan_from(text, {}), self.reloads))

    async def reloaded(self, outcome: str) -> None:
        """Wait until it is known what became of the last plan."""
        await self.until(lambda: f"{self.reloads} {outcome}" in self.told)

    def pid(self, name: str) -> int:
        process, _, index = name.rpartition("-")
        found = self.keeper.facts[Id(process, int(index))].pid
        assert found is not None
        return found

    async def until(self, seen: Callable[[], bool]) -> None:
        """Wait for news until it is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not seen():
                self._news.clear()
                await self._news.wait()

    def phase(self, name: str) -> Phase | None:
        process, _, index = name.rpartition("-")
        instance = self.keeper.state.instances.get(Id(process, int(index)))
        return None if instance is None else instance.phase

    def said(self, name: str) -> list[str]:
        return [text for who, text in self.lines if who == name]

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.run


def lives(pid: str) -> bool:
    found = read_process(int(pid))
    return found is not None and found.alive


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def stage(text: str, cwd: Path, play: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        it = Stage(plan_from(text, {}), cwd)
        try:
            await play(it)
        finally:
            it.run.cancel()
            await asyncio.gather(it.run, return_exceptions=True)

    asyncio.run(whole())
