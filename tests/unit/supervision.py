"""A whole supervision in virtual time: the machine, and processes that do what a test says."""

import heapq
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from millrace.supervisor.health.notices import notice_from
from millrace.supervisor.machine import begin, step
from millrace.supervisor.plan import Condition, Kind, Plan, Policy, ProcessPlan, Restart
from millrace.supervisor.schedule.jobs import Job, Watch, soonest
from millrace.supervisor.schedule.values import Schedule
from millrace.supervisor.state import (
    Answered,
    Await,
    CalledOff,
    Due,
    Effect,
    Ended,
    Ending,
    Event,
    Finish,
    HaltHooks,
    Hooked,
    Id,
    Late,
    Limit,
    LimitReload,
    Looked,
    Notified,
    NotSpawned,
    Overdue,
    Phase,
    Probe,
    Prove,
    Proven,
    Reloaded,
    ReloadLate,
    Replanned,
    Rescaled,
    Rolled,
    RunHooks,
    Signed,
    Skipped,
    Spawn,
    Spawned,
    State,
    Stop,
    Triggered,
    Wake,
)

EPOCH = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def a_plan(**processes: ProcessPlan) -> Plan:
    return Plan(processes={name.replace("_", "-"): process for name, process in processes.items()})


def a_process(name: str, *needs: str, **fields: object) -> ProcessPlan:
    """Depends on `needs`: a name, or name:condition."""
    depends_on = {need.partition(":")[0]: Condition(need.partition(":")[2] or "ready") for need in needs}
    return ProcessPlan(name=name, command=(name,), depends_on=depends_on, **fields)  # type: ignore[arg-type]  # any field


def a_job(name: str, expression: str, *needs: str, **fields: object) -> ProcessPlan:
    """Runs at its times; fields of a schedule go to that."""
    of_schedule = {
        key: fields.pop(key) for key in ("zone", "timeout_s", "overlap", "max_concurrent", "heartbeat") if key in fields
    }
    schedule = Schedule(expression=expression, **of_schedule)  # type: ignore[arg-type]  # any field
    never = Restart(policy=Policy.NEVER)
    return a_process(name, *needs, kind=Kind.SCHEDULED, restart=never, schedule=schedule, **fields)


class Supervision:
    """Runs the machine; every effect is answered by the test, except that a process starts and stops when it is told to."""

    def __init__(
        self, plan: Plan, *, can_start: Callable[[Id], bool] = lambda _: True, stops: bool = True,
        hook: Callable[[RunHooks], str | None] = lambda _: "", wall: datetime = EPOCH,
    ) -> None:  # fmt: skip
        """`hook` says why the hooks of a moment fail, the empty text that they work, None that they go on."""
        self.wall = wall  # what the wall clock shows while the monotonic one shows 0
        self.signs: list[str] = []
        self.skipped: list[str] = []
        self._hook = hook
        self._hooks: list[RunHooks] = []
        self._look_s: float | None = None
        self.now_s = 0.0
        self.log: list[str] = []
        self.finished: int | None = None
        self.probed: list[Id] = []
        self._can_start = can_start
        self._stops = stops
        self.told: list[str] = []
        self._wakes: list[tuple[float, int, Event]] = []
        self._events: deque[Event] = deque()
        self._count = 0
        self.plans = 0
        self._awaited: dict[Id, tuple[float, int]] = {}
        self.state = State()
        self._busy = True
        self.state, effects = begin(plan)
        self._do(effects)
        self._work()
        self.look()

    @property
    def plan(self) -> Plan:
        return self.state.plan

    def post(self, event: Event) -> None:
        """As the keeper does: whoever works on the first event goes on with those that come of it."""
        self._events.append(event)
        if not self._busy:
            self._work()

    def ends(self, name: str, code: int | None = 0, draw: float = 0.5) -> None:
        """The process ends by itself."""
        each = ident(name)
        how = f"exited with code {code}" if code is not None else "was killed"
        self.post(Ended(each, self.state.instances[each].run, self.now_s, code, how, draw))

    def answers(self, name: str, well: bool) -> None:
        """Its health check is answered."""
        each = ident(name)
        self.post(Answered(each, self.state.instances[each].run, well, "" if well else "refused"))

    def says(self, name: str, *lines: str) -> None:
        """It says something of itself, sd_notify(3)."""
        each = ident(name)
        self.post(Notified(each, self.state.instances[each].run, notice_from("\n".join(lines).encode())))

    def end(self) -> None:
        """The whole is told to stop."""
        self.post(Ending())

    def _work(self) -> None:
        self._busy = True
        while self._events:
            self.state, effects = step(self.state, self._events.popleft())
            self._do(effects)
        self._busy = False

    def reloads(self, plan: Plan) -> None:
        """Another plan comes."""
        self.plans += 1
        self.post(Replanned(plan, self.plans))

    def passes(self, seconds: float) -> None:
        """Time goes by, and what is due comes."""
        until = self.now_s + seconds
        while True:
            wake_s = self._wakes[0][0] if self._wakes else until + 1
            silent = min(self._awaited, key=lambda each: self._awaited[each], default=None)
            if silent is not None and self._awaited[silent][0] <= min(wake_s, until):
                self.now_s, run = self._awaited.pop(silent)
                self.post(Overdue(silent, run))
            elif self._look_s is not None and self._look_s <= min(wake_s, until):
                self.now_s = self._look_s
                self.look()
            elif wake_s <= until:
                self.now_s, _, event = heapq.heappop(self._wakes)
                self.post(event)
            else:
                break
        self.now_s = until

    def look(self) -> None:
        """Somebody looks at the clocks, where there is something to look for."""
        if self.state.jobs:
            watch = self.watch()
            self.post(Looked(watch))
            self._look_s = self.now_s + soonest(self.state.jobs, watch.wall)

    def watch(self) -> Watch:
        return Watch(self.wall + timedelta(seconds=self.now_s), self.now_s)

    def steps(self, **by: float) -> None:
        """The wall clock is set; nobody notices until it is looked at again."""
        self.wall += timedelta(**by)

    def triggers(self, name: str) -> None:
        self.post(Triggered(name, self.watch()))

    def calls_off(self, name: str, number: int) -> None:
        self.post(CalledOff(name, number, self.watch()))

    def hooks_end(self, why: str | None = None) -> None:
        """Those that go on have ended, the oldest first."""
        effect = self._hooks.pop(0)
        self.post(Hooked(effect.id, effect.run, effect.moment, why))

    def job(self, name: str) -> Job:
        return self.state.jobs[name]

    def outcomes(self, name: str) -> list[str]:
        return [str(run.outcome) for run in self.state.jobs[name].history]

    def phase(self, name: str) -> Phase:
        return self.state.instances[ident(name)].phase

    def ready(self, name: str) -> bool:
        return self.state.instances[ident(name)].ready

    def reason(self, name: str) -> str:
        return self.state.instances[ident(name)].reason

    def _later(self, after_s: float, event: Event) -> None:
        self._count += 1  # so that those of the same moment come in their order
        heapq.heappush(self._wakes, (self.now_s + after_s, self._count, event))

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
                    self._later(effect.after_s, Due(effect.id, effect.run))
                case Prove():
                    self._later(effect.after_s, Proven(effect.id, effect.run, effect.spell))
                case Limit():
                    self._later(effect.after_s, Late(effect.id, effect.ticket))
                case LimitReload():
                    self._later(effect.after_s, ReloadLate(effect.number))
                case Reloaded():
                    why = f": {effect.reload.why}" if effect.reload.why else ""
                    self.told.append(f"{effect.reload.number} {effect.reload.outcome}{why}")
                case Rolled():
                    self.told.append(f"{effect.process} {effect.halted or 'rolled'}")
                case Rescaled():
                    self.told.append(f"{effect.process} {effect.before} to {effect.now}: {effect.why}")
                case Await():
                    self._await(effect)
                case Probe():
                    self.probed.append(effect.id)
                case RunHooks():
                    self.log.append(f"{effect.id or 'all'} {effect.moment}")
                    why = self._hook(effect)
                    if why is None:
                        self._hooks.append(effect)
                    else:
                        self.post(Hooked(effect.id, effect.run, effect.moment, why or None))
                case HaltHooks():
                    for hooks in [one for one in self._hooks if one.id == effect.id]:
                        self._hooks.remove(hooks)
                        self.log.append(f"{effect.id or 'all'} halted")
                        self.post(Hooked(hooks.id, hooks.run, hooks.moment, "the hooks were stopped"))
                case Signed():
                    self.signs.append(f"{effect.process} {effect.run.outcome or 'began'}")
                case Skipped():
                    self.skipped.append(effect.process)
                case Finish():
                    self.finished = effect.code
                case _:
                    pass

    def _await(self, effect: Await) -> None:
        """As the shell does: the last one counts, and an extension never shortens."""
        patience, there = effect.patience, self._awaited.get(effect.id)
        until_s = self.now_s + patience.for_s
        if patience.extend and (there is None or there[0] >= until_s):
            return
        self._awaited.pop(effect.id, None)
        if patience.for_s:
            self._awaited[effect.id] = (until_s, effect.run)


def ident(name: str) -> Id:
    process, _, index = name.rpartition("-")
    return Id(process, int(index)) if process and index.isdigit() else Id(name, 0)
