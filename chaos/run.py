"""One run, from its plan to its verdict."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from msgspec import Struct

from chaos.check import check
from chaos.evidence import Evidence
from chaos.farm import KEY, Farm
from chaos.faults import Faults, Happened
from chaos.ghosts import Ghosts
from chaos.grounds import Grounds
from chaos.people import People
from chaos.plan import Plan
from chaos.witness import Leaders, Processes, Reader
from millrace.client.async_client import AsyncClient
from millrace.client.http import Terms
from sim.history import History, Violation

PATIENCE_S = 240.0
"""How long the farm may take, after the last fault, to end every job, on cores that others use, too."""
LATE_S = 60.0
"""How long people may take, after the last fault, to hear of what they still ask."""


class Run(Struct, kw_only=True):
    """What came of it."""

    plan: Plan
    grounds: Grounds
    history: History
    began_s: float
    """When the history's clock was zero, in seconds since 1970."""
    violations: list[Violation]
    farm: Farm
    people: People
    faults: Faults
    processes: Processes
    leaders: Leaders
    ghosts: Ghosts
    reader: Reader
    evidence: Evidence | None = None
    begun_s: float = 0.0
    healed_s: float = 0.0
    settled_s: float = 0.0

    @property
    def happened(self) -> list[Happened]:
        """The faults."""
        return self.faults.happened

    def counted(self) -> Counter[str]:
        """Faults by kind; of masters, whether it was the leader."""
        return Counter(_kind(one) for one in self.happened)


def _kind(one: Happened) -> str:
    if one.target in ("database", "outputs") or one.kind.startswith("db-"):
        return one.kind
    return f"{one.kind} {'leader' if one.leads else one.target[:-1]}"


async def run(
    plan: Plan, folder: Path, grounds: Grounds, *, marker: str, bug: str | None, settings: Mapping[str, str],
    patience_s: float = PATIENCE_S,
) -> Run:  # fmt: skip
    """Carry out a plan in an empty folder, and judge it."""
    began_s = time.time()
    history = History(lambda: time.time() - began_s)
    violations: list[Violation] = []

    def fail(invariant: str, text: str) -> None:
        history.add("VIOLATION", invariant, text)
        violations.append(Violation(invariant, text, history.now(), len(history.events)))

    farm = Farm(plan, folder, grounds, history, marker=marker, bug=bug, settings=settings)
    processes = Processes(marker, farm, history, fail)
    leaders = Leaders(farm.direct, KEY, history, fail)
    direct = AsyncClient(list(farm.direct.values()), Terms(key=KEY, patience_s=2.0))
    watching = [asyncio.create_task(processes.watch())]
    try:
        await farm.start()
        people = People(plan, [farm.people_host.url(name) for name in farm.direct], KEY, farm.media, history)
        made = Run(
            plan=plan,
            grounds=grounds,
            history=history,
            began_s=began_s,
            violations=violations,
            farm=farm,
            people=people,
            faults=Faults(farm, processes, leaders),
            processes=processes,
            leaders=leaders,
            ghosts=Ghosts(direct, people.known, folder, Random(f"ghosts:{plan.seed}"), fail),
            reader=Reader(farm.media, fail),
        )
        watching += [asyncio.create_task(one) for one in (leaders.watch(), made.ghosts.haunt(), made.reader.watch())]
        left = await _live(made, patience_s)
        await _relieve(watching)
        codes = await farm.end_programs()
        made.evidence = await _evidence(farm, fail)
        await farm.end()
        check(made, left=left, codes=codes, fail=fail)
        return made
    finally:
        for task in watching:
            task.cancel()
        await direct.close()
        await farm.end()
        farm.unmount()


async def _live(run: Run, patience_s: float) -> list[str]:
    """From the first order until every job has ended; those that have not."""
    run.begun_s = run.history.now()
    run.history.add("begins")
    over = asyncio.Event()
    living = asyncio.create_task(run.people.live(over))
    await run.faults.live()
    await run.faults.heal()
    run.healed_s = run.history.now()
    run.history.add("healed")
    await asyncio.wait((living,), timeout=LATE_S)
    over.set()  # who could not submit in a minute in which nothing is wrong gives up, and is counted
    await living
    left = await run.people.settle(time.monotonic() + patience_s)
    run.settled_s = run.history.now()
    run.history.add("settled" if not left else "not-settled", len(left))
    await run.people.close()
    return left


async def _relieve(watching: "list[asyncio.Task[None]]") -> None:
    """Witnesses may go. One that has gone by itself has seen nothing since."""
    gone = [task for task in watching if task.done()]
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    watching.clear()
    for task in gone:
        task.result()


async def _evidence(farm: Farm, fail: Callable[[str, str], None]) -> Evidence:
    if farm.database is not None:
        return await Evidence.of_server(farm.database.url)
    return Evidence.of_file(farm.data.path / "master0" / "millrace.db", fail)
