"""One step of the machine: a copy of the state that is worked on, the effects so far, and the words for both."""

from msgspec.structs import replace

from millrace.supervisor.health.values import HealthCheck
from millrace.supervisor.hooks import Moment
from millrace.supervisor.plan import ProcessPlan
from millrace.supervisor.schedule.jobs import Job
from millrace.supervisor.state import ABSENT, Changed, Effect, HaltHooks, Id, Instance, Phase, RunHooks, State, Stop


class Draft:
    """What a step has made of the state so far."""

    def __init__(self, state: State) -> None:
        self._plan = state.plan
        self._before = state.instances
        self._instances: dict[Id, Instance] = dict(state.instances)
        self._touched: set[Id] = set()
        self._groups: dict[str, list[Id]] | None = None  # who belongs to each process, in order, once somebody asked
        self._wanted: dict[str, int] = dict(state.wanted)
        self._jobs: dict[str, Job] = dict(state.jobs)
        self._watch = state.watch
        self._stage = state.stage
        self._ending = state.ending
        self._code = state.code
        self._cut_short = state.cut_short
        self._storm_s = state.storm_s
        self._rolls = dict(state.rolls)
        self._reload = state.reload
        self._scalings = dict(state.scalings)
        self._ticket = state.ticket
        self._effects: list[Effect] = []

    def result(self) -> tuple[State, tuple[Effect, ...]]:
        state = State(
            plan=self._plan, instances=self._instances, wanted=self._wanted, jobs=self._jobs, watch=self._watch,
            stage=self._stage, ending=self._ending, code=self._code, cut_short=self._cut_short, rolls=self._rolls,
            reload=self._reload, scalings=self._scalings, ticket=self._ticket, storm_s=self._storm_s,
        )  # fmt: skip
        changed = [
            Changed(each, self._instances[each])
            for each in sorted(self._touched & self._instances.keys())
            if _seen(self._before.get(each)) != _seen(self._instances[each])
        ]
        return state, (*changed, *self._effects)

    def _set(self, each: Id, **changes: object) -> Instance:
        before = self._instances[each]
        ready = changes.get("ready", before.ready)
        if ready and not before.ready:
            changes["spell"] = before.spell + 1
        elif before.ready and not ready:
            changes |= {"proven": False, "proving": False}
        found = self._instances[each] = replace(before, **changes)
        self._touched.add(each)
        return found

    def _add(self, each: Id) -> None:
        self._instances[each] = Instance()
        self._touched.add(each)
        self._groups = None

    def _remove(self, each: Id) -> None:
        del self._instances[each]
        self._groups = None

    def _rule(self, each: Id) -> ProcessPlan:
        """What an instance lives by: what it was started with, or else is to be started with."""
        return self._instances[each].plan or self._plan.processes[each.process]

    def _stop(self, each: Id, reason: str, *, unwell: bool = False) -> None:
        preparing = self._instances[each].phase is Phase.STARTING
        instance = self._set(each, phase=Phase.STOPPING, ready=False, unwell=unwell, reason=reason)
        if preparing:
            self._effects.append(HaltHooks(each))
            return
        self._halt(each)
        if Moment.PRE_STOP in self._rule(each).hooks:
            self._effects.append(RunHooks(each, instance.run, Moment.PRE_STOP))
        else:
            self._effects.append(Stop(each, instance.run))

    def _halt(self, each: Id) -> None:
        """What still runs of its hooks beside it has no more use."""
        hooks = self._rule(each).hooks
        if Moment.POST_START in hooks or Moment.PRE_STOP in hooks:
            self._effects.append(HaltHooks(each))

    def _of(self, process: str) -> list[Id]:
        # One pass for all, since every step asks for every process.
        if self._groups is None:
            self._groups = {}
            for each in sorted(self._instances):
                self._groups.setdefault(each.process, []).append(each)
        return list(self._groups.get(process, ()))

    def _is_wanted(self, each: Id) -> bool:
        job, wanted = self._jobs.get(each.process), self._wanted.get(each.process, 0)
        if job is not None and each.index:
            return not self._ending and wanted > 0 and job.at(each.index) is not None
        return not self._ending and (each.index < wanted or self._is_surge(each))

    def _is_surge(self, each: Id) -> bool:
        """Whether it runs beside the wanted ones while these are replaced; once that has halted, if it serves."""
        roll, wanted = self._rolls.get(each.process), self._wanted.get(each.process, 0)
        if (
            roll is None
            or not wanted
            or not wanted <= each.index < wanted + self._plan.processes[each.process].rolling.max_surge
        ):
            return False
        return not roll.halted or self._instances[each].ready

    def _is_there(self, process: str) -> bool:
        return any(self._instances[each].phase not in ABSENT for each in self._of(process))

    def _check(self, each: Id) -> HealthCheck | None:
        return self._rule(each).health_check

    def _is_gated(self, each: Id) -> bool:
        check = self._check(each)
        return check is not None and check.gates


def _seen(instance: Instance | None) -> tuple[object, ...]:
    return () if instance is None else (instance.phase, instance.ready, instance.run, instance.told)
