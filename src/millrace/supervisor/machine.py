"""The rules of keeping processes: an event comes in, a new state and what is to be done come out. Pure.

Every event is noted first; then `_settle` compares what is wanted with what is there, and moves each instance one step
closer. So the order of starting and stopping is one rule, whatever happened.
"""

from msgspec.structs import replace

from millrace.supervisor.graph import dependents, order
from millrace.supervisor.plan import Condition, HealthCheck, Plan, ProbeMode
from millrace.supervisor.restart import Again, after_end
from millrace.supervisor.state import (
    ABSENT,
    AT_REST,
    Answered,
    Changed,
    Due,
    Effect,
    Ended,
    Ending,
    Event,
    Finish,
    Gone,
    Id,
    Instance,
    NotSpawned,
    Phase,
    Probe,
    Renewed,
    Spawn,
    Spawned,
    State,
    Stop,
    Wake,
    Wanted,
)


def begin(plan: Plan) -> tuple[State, tuple[Effect, ...]]:
    """The state in which a supervisor starts, and the first things to do."""
    wanted = {name: process.scale if process.autostart else 0 for name, process in plan.processes.items()}
    machine = _Machine(plan, State(wanted=wanted))
    machine.settle()
    return machine.result()


def step(plan: Plan, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """What an event changes. News of a run that is over changes nothing."""
    machine = _Machine(plan, state)
    machine.note(event)
    machine.settle()
    return machine.result()


class _Machine:
    """One step: a copy of the state that is worked on, and the effects so far."""

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._before = state.instances
        self._instances: dict[Id, Instance] = dict(state.instances)
        self._wanted: dict[str, int] = dict(state.wanted)
        self._ending = state.ending
        self._effects: list[Effect] = []

    def result(self) -> tuple[State, tuple[Effect, ...]]:
        state = State(instances=self._instances, wanted=self._wanted, ending=self._ending)
        changed = [
            Changed(each, now)
            for each, now in sorted(self._instances.items())
            if _seen(self._before.get(each)) != _seen(now)
        ]
        return state, (*changed, *self._effects)

    # What happened ---------------------------------------------------------------------------------------------------

    def note(self, event: Event) -> None:
        match event:
            case Wanted():
                self._want(event.process, event.count)
            case Renewed() if not self._ending:
                for each in self._of(event.process):
                    if self._instances[each].phase is Phase.RUNNING:
                        self._stop(each, "asked to restart")
                    elif self._instances[each].phase is not Phase.STOPPING:
                        self._set(each, phase=Phase.STOPPED, failures=0, reason="")
            case Ending():
                self._ending = True
            case Renewed():
                pass
            case _:
                instance = self._instances.get(event.id)
                if instance is not None and instance.run == event.run:
                    self._hear(event, instance)

    def _want(self, process: str, count: int) -> None:
        self._wanted[process] = count
        for each in self._of(process):
            # Who starts what was given up wants it tried afresh.
            if each.index < count and self._instances[each].phase in AT_REST:
                self._set(each, phase=Phase.STOPPED, failures=0, reason="")

    def _hear(self, event: Spawned | NotSpawned | Ended | Answered | Due, instance: Instance) -> None:
        match event:
            case Spawned():
                ready = instance.phase is Phase.RUNNING and not self._is_gated(event.id)
                self._set(event.id, began_s=event.at_s, ready=ready)
                if self._check(event.id) is not None:
                    self._effects.append(Probe(event.id, event.run))
            case NotSpawned():
                self._set(event.id, phase=Phase.FAILED, ready=False, reason=event.why)
            case Answered() if instance.phase is Phase.RUNNING:
                self._answer(event, instance)
            case Ended():
                self._end(event, instance)
            case Due() if instance.phase is Phase.BACKING_OFF:
                self._set(event.id, phase=Phase.WAITING)
            case _:
                pass

    def _answer(self, event: Answered, instance: Instance) -> None:
        check = self._check(event.id)
        if check is None:
            return
        passes, misses = (instance.passes + 1, 0) if event.well else (0, instance.misses + 1)
        ready = instance.ready
        if check.mode is not ProbeMode.LIVENESS:
            ready = passes >= check.success_threshold or (ready and misses < check.failure_threshold)
        self._set(event.id, passes=passes, misses=misses, ready=ready, reason="" if event.well else event.why)
        if check.mode is not ProbeMode.READINESS and misses >= check.failure_threshold:
            self._stop(event.id, f"unhealthy: {event.why}", unwell=True)

    def _end(self, event: Ended, instance: Instance) -> None:
        plan = self._plan.processes[event.id.process]
        if instance.phase is Phase.STOPPING and not (instance.unwell and self._is_wanted(event.id)):
            self._set(event.id, phase=Phase.STOPPED, unwell=False, reason=event.how)
            return
        code, how = (None, instance.reason) if instance.unwell else (event.code, event.how)
        stable = event.at_s - instance.began_s >= plan.restart.stable_s
        failures = 1 if stable else instance.failures + 1
        decision = after_end(plan, code=code, how=how, failures=failures, draw=event.draw)
        self._set(event.id, ready=False, unwell=False, failures=failures)
        if isinstance(decision, Again):
            self._set(event.id, phase=Phase.BACKING_OFF, reason=how)
            self._effects.append(Wake(event.id, event.run, decision.after_s))
        else:
            phase = Phase.COMPLETED if decision.well else Phase.FAILED
            self._set(event.id, phase=phase, reason=decision.why)

    # What is to be done ----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Move every instance towards what is wanted, as far as can be."""
        names = order(self._plan.processes)
        waiting_for = dependents(self._plan.processes)
        for name in names:
            for index in range(self._wanted.get(name, 0)):
                self._instances.setdefault(Id(name, index), Instance())
        for name in names:
            for each in self._of(name):
                if self._is_wanted(each):
                    self._bring_up(each)
        for name in reversed(names):
            for each in self._of(name):
                if not self._is_wanted(each):
                    # Who stops one by hand means that one; only the end of all waits for dependents.
                    self._take_down(each, blocked=self._ending and any(map(self._is_there, waiting_for[name])))
        self._finish()

    def _bring_up(self, each: Id) -> None:
        instance = self._instances[each]
        if instance.phase is Phase.STOPPED:
            instance = self._set(each, phase=Phase.WAITING)
        if instance.phase is not Phase.WAITING:
            return
        missing = self._missing(each.process)
        if missing is None:
            run = instance.run + 1
            self._set(
                each, phase=Phase.RUNNING, run=run, ready=False, passes=0, misses=0, reason="",
                restarts=instance.restarts + (1 if instance.run else 0),
            )  # fmt: skip
            self._effects.append(Spawn(each, run))
        elif missing[1]:
            self._set(each, phase=Phase.FAILED, reason=f"cannot start: it depends on {missing[0]}, which failed")
        else:
            self._set(each, reason=f"waits for {missing[0]}")

    def _missing(self, process: str) -> tuple[str, bool] | None:
        """What stands in the way of a start, and whether for good."""
        for name, condition in self._plan.processes[process].depends_on.items():
            instances = [self._instances[each] for each in self._of(name) if each.index < max(1, self._wanted[name])]
            if not instances or not all(_meets(one, condition) for one in instances):
                return name, any(one.phase is Phase.FAILED for one in instances)
        return None

    def _take_down(self, each: Id, *, blocked: bool) -> None:
        phase = self._instances[each].phase
        if phase is Phase.RUNNING and not blocked:
            self._stop(each, "asked to stop")
        elif phase in (Phase.WAITING, Phase.BACKING_OFF):
            self._set(each, phase=Phase.STOPPED, reason="asked to stop")
        elif phase in AT_REST and each.index >= self._wanted.get(each.process, 0) > 0:
            del self._instances[each]  # scaled down
            self._effects.append(Gone(each))

    def _finish(self) -> None:
        phases = [instance.phase for instance in self._instances.values()]
        if any(phase not in AT_REST for phase in phases):
            return
        if self._ending:
            self._effects.append(Finish(0))
        elif Phase.STOPPED not in phases and len(phases) >= len(self._plan.processes):
            self._effects.append(Finish(1 if Phase.FAILED in phases else 0))

    # Words -----------------------------------------------------------------------------------------------------------

    def _set(self, each: Id, **changes: object) -> Instance:
        found = self._instances[each] = replace(self._instances[each], **changes)
        return found

    def _stop(self, each: Id, reason: str, *, unwell: bool = False) -> None:
        instance = self._set(each, phase=Phase.STOPPING, ready=False, unwell=unwell, reason=reason)
        self._effects.append(Stop(each, instance.run))

    def _of(self, process: str) -> list[Id]:
        return sorted(each for each in self._instances if each.process == process)

    def _is_wanted(self, each: Id) -> bool:
        return not self._ending and each.index < self._wanted.get(each.process, 0)

    def _is_there(self, process: str) -> bool:
        return any(self._instances[each].phase not in ABSENT for each in self._of(process))

    def _check(self, each: Id) -> HealthCheck | None:
        return self._plan.processes[each.process].health_check

    def _is_gated(self, each: Id) -> bool:
        check = self._check(each)
        return check is not None and check.mode is not ProbeMode.LIVENESS


def _meets(instance: Instance, condition: Condition) -> bool:
    if condition is Condition.COMPLETED:
        return instance.phase is Phase.COMPLETED
    if instance.phase is Phase.COMPLETED:
        return True
    return instance.phase is Phase.RUNNING and (condition is Condition.STARTED or instance.ready)


def _seen(instance: Instance | None) -> tuple[object, ...]:
    return () if instance is None else (instance.phase, instance.ready, instance.run)
