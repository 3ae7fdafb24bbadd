"""A whole supervision in virtual time: the machine, and processes that do what a test says."""

import heapq
from collections.abc import Callable

from millrace.supervisor.machine import begin, step
from millrace.supervisor.plan import Condition, Plan, ProcessPlan
from millrace.supervisor.state import (
    Answered,
    Due,
    Effect,
    Ended,
    Ending,
    Event,
    Finish,
    Id,
    NotSpawned,
    Phase,
    Probe,
    Spawn,
    Spawned,
    State,
    Stop,
    Wake,
)


def a_plan(**processes: ProcessPlan) -> Plan:
    return Plan(processes={name.replace("_", "-"): process for name, process in processes.items()})


def a_process(name: str, *needs: str, **fields: object) -> ProcessPlan:
    """Depends on `needs`: a name, or name:condition."""
    depends_on = {need.partition(":")[0]: Condition(need.partition(":")[2] or "ready") for need in needs}
    return ProcessPlan(name=name, command=(name,), depends_on=depends_on, **fields)  # type: ignore[arg-type]  # any field


class Supervision:
    """Runs the machine; every effect is answered by the test, except that a process starts and stops when it is told to."""

    def __init__(self, plan: Plan, *, can_start: Callable[[Id], bool] = lambda _: True, stops: bool = True) -> None:
        self.plan = plan
        self.now_s = 0.0
        self.log: list[str] = []
        self.finished: int | None = None
        self.probed: list[Id] = []
        self._can_start = can_start
        self._stops = stops
        self._wakes: list[tuple[float, Id, int]] = []
        self.state = State()
        self.state, effects = begin(plan)
        self._do(effects)

    def post(self, event: Event) -> None:
        self.state, effects = step(self.plan, self.state, event)
        self._do(effects)

    def ends(self, name: str, code: int | None = 0, draw: float = 0.5) -> None:
        """The process ends by itself."""
        each = ident(name)
        how = f"exited with code {code}" if code is not None else "was killed"
        self.post(Ended(each, self.state.instances[each].run, self.now_s, code, how, draw))

    def answers(self, name: str, well: bool) -> None:
        """Its health check is answered."""
        each = ident(name)
        self.post(Answered(each, self.state.instances[each].run, well, "" if well else "refused"))

    def end(self) -> None:
        """The whole is told to stop."""
        self.post(Ending())

    def passes(self, seconds: float) -> None:
        """Time goes by, and what is due comes."""
        until = self.now_s + seconds
        while self._wakes and self._wakes[0][0] <= until:
            self.now_s, each, run = heapq.heappop(self._wakes)
            self.post(Due(each, run))
        self.now_s = until

    def phase(self, name: str) -> Phase:
        return self.state.instances[ident(name)].phase

    def ready(self, name: str) -> bool:
        return self.state.instances[ident(name)].ready

    def reason(self, name: str) -> str:
        return self.state.instances[ident(name)].reason

    def _do(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Spawn():
                    self.log.append(f"+{effect.id}")
                    started = self._can_start(effect.id)
                    why = "cannot start: no such program"
                    self.post(
                        Spawned(effect.id, effect.run, self.now_s)
                        if started
                        else NotSpawned(effect.id, effect.run, why)
                    )
                case Stop():
                    self.log.append(f"-{effect.id}")
                    if self._stops:
                        self.post(Ended(effect.id, effect.run, self.now_s, None, "was killed by SIGTERM (15)", 0.5))
                case Wake():
                    heapq.heappush(self._wakes, (self.now_s + effect.after_s, effect.id, effect.run))
                case Probe():
                    self.probed.append(effect.id)
                case Finish():
                    self.finished = effect.code
                case _:
                    pass


def ident(name: str) -> Id:
    process, _, index = name.rpartition("-")
    return Id(process, int(index)) if process and index.isdigit() else Id(name, 0)
