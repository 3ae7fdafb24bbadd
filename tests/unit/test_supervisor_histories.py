"""Random histories of a supervision: whatever happens, in whatever order, the rules of keeping hold."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace
from supervision import a_job, a_plan, a_process

from millrace.supervisor.change.difference import needs_restart
from millrace.supervisor.change.reloads import Outcome
from millrace.supervisor.change.rolling import is_gradual
from millrace.supervisor.change.values import Reloading, Rolling
from millrace.supervisor.graph import above
from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.hooks import Hook, Moment
from millrace.supervisor.machine import _Machine, begin, step
from millrace.supervisor.plan import Condition, Kind, Plan, Policy, ProcessPlan, Restart
from millrace.supervisor.schedule.jobs import Job, Watch
from millrace.supervisor.schedule.values import Overlap
from millrace.supervisor.state import (
    ABSENT,
    AT_REST,
    Answered,
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
    NotSpawned,
    Phase,
    Prove,
    Proven,
    ReloadLate,
    Renewed,
    Replanned,
    RunHooks,
    Spawn,
    Spawned,
    Stage,
    State,
    Stop,
    Triggered,
    Wake,
    Wanted,
)

CHECK = HealthCheck(kind=ProbeKind.TCP, target="x:1", failure_threshold=2)
NAMES = ("a", "b", "c", "d")


def hooks() -> st.SearchStrategy[dict[Moment, tuple[Hook, ...]]]:
    hook = (Hook(name="hook", command=("hook",)),)
    return st.one_of(st.just({}), st.sets(st.sampled_from(Moment)).map(lambda moments: dict.fromkeys(moments, hook)))


@st.composite
def plans(draw: st.DrawFn, names: st.SearchStrategy[tuple[str, ...]] | None = None) -> Plan:
    found: dict[str, ProcessPlan] = {}
    chosen = NAMES if names is None else draw(names)
    for place, name in enumerate(chosen):
        oneshot = draw(st.booleans())
        needs = []
        for other in chosen[:place]:
            if draw(st.booleans()):
                words = ["started", "ready"] + (["completed"] if found[other].kind is Kind.ONESHOT else [])
                needs.append(f"{other}:{draw(st.sampled_from(words))}")
        policies = [Policy.NEVER, Policy.ON_FAILURE] if oneshot else list(Policy)
        found[name] = a_process(
            name,
            *needs,
            kind=Kind.ONESHOT if oneshot else Kind.SERVICE,
            scale=1 if oneshot else draw(st.integers(1, 3)),
            health_check=CHECK if not oneshot and draw(st.booleans()) else None,
            restart=Restart(policy=draw(st.sampled_from(policies)), max_attempts=draw(st.integers(0, 2))),
            hooks=draw(hooks()),
            env=draw(st.sampled_from([{}, {}, {"X": "1"}])),
            rolling=draw(rollings()),
        )
    if draw(st.booleans()):
        limit_s, overlap = draw(st.sampled_from([0.0, 30.0])), draw(st.sampled_from(Overlap))
        needs = ["a"] if draw(st.booleans()) and "a" in found else []
        most = 1 if overlap is Overlap.FORBID else draw(st.sampled_from([0, 1, 2, 3]))
        found["job"] = a_job(
            "job", "* * * * *", *needs, timeout_s=limit_s, overlap=overlap, max_concurrent=most, hooks=draw(hooks())
        )
    reloading = Reloading(rollback=draw(st.booleans()))
    return Plan(processes=a_plan(**found).processes, hooks=draw(hooks()), reloading=reloading)


def rollings() -> st.SearchStrategy[Rolling]:
    return st.builds(
        lambda down, up, min_ready_s: Rolling(
            max_unavailable=down if up else max(down, 1), max_surge=up, min_ready_s=min_ready_s
        ),
        st.integers(0, 2),
        st.integers(0, 2),
        st.sampled_from([0.0, 1.0]),
    )


OTHERS = st.permutations(NAMES).flatmap(lambda names: st.integers(1, 4).map(lambda count: tuple(names[:count])))


def all_settled(state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """What a step gives that looks at every instance, whoever the event is about."""
    if state.stage is Stage.OVER:
        return state, ()
    machine = _Machine(state)
    machine.note(event)
    machine.settle()
    return machine.result()


class Supervisions(RuleBasedStateMachine):
    """The world: which processes really run, and what was promised to come."""

    state: State

    @property
    def plan(self) -> Plan:
        return self.state.plan

    @initialize(plan=plans())
    def start(self, plan: Plan) -> None:
        self.broken = False
        self.launched: dict[Id, ProcessPlan] = {}
        self.to_renew: set[Id] = set()
        self.promised: list[Proven | Late | ReloadLate] = []
        self.to_roll: set[Id] = set()
        self.was_ready: set[Id] = set()
        self.number = 0
        self.running: dict[Id, int] = {}
        self.spawning: dict[Id, int] = {}
        self.stopping: set[Id] = set()
        self.waking: dict[Id, int] = {}
        self.limits: list[tuple[Id, int, int]] = []  # of a run of the schedule: the instance, its run, the number
        self.hooking: dict[tuple[Id | None, Moment], int] = {}
        self.halted: set[tuple[Id | None, Moment]] = set()
        self.wall = datetime(2026, 1, 1, tzinfo=UTC)
        self.finished: int | None = None
        self.ending = False
        self.now_s = 0.0
        self.state, effects = begin(plan)
        self._do(effects)

    def _post(self, event: Event) -> None:
        self.was_ready = {each for each, one in self.state.instances.items() if one.ready}
        before = self.state.instances
        before_jobs = self.state.jobs
        looked_at_all = all_settled(self.state, event)
        self.state, effects = step(self.state, event)
        assert (self.state, effects) == looked_at_all, "who is left out of a look would not have moved"
        self._check_bound(before_jobs)
        self.broken = True  # until the world has done what the machine wants
        for each, instance in self.state.instances.items():
            if each not in before or before[each].run != instance.run:
                self.to_renew.discard(each)
                self.to_roll.discard(each)
            elif instance.phase is Phase.STOPPING and before[each].phase is Phase.RUNNING:
                self._check_reason(each)
        self._do(effects)
        self.broken = False

    def _do(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Spawn():
                    assert effect.id not in self.running, "one instance never runs twice"
                    assert effect.id not in self.spawning
                    assert not self.ending, "nothing starts once the end has begun"
                    assert (None, Moment.PRE_START) not in self.hooking
                    if Moment.PRE_START not in self.plan.processes[effect.id.process].hooks:
                        self._check_dependencies(effect.id)  # else it held when those began
                    self.spawning[effect.id] = effect.run
                    self._launch(effect.id)
                case Prove():
                    self.promised.append(Proven(effect.id, effect.run, effect.spell))
                case Limit():
                    self.promised.append(Late(effect.id, effect.ticket))
                case LimitReload():
                    self.promised.append(ReloadLate(effect.number))
                case Stop():
                    assert effect.id in self.running or effect.id in self.spawning
                    assert effect.id not in self.stopping, "nobody is stopped twice"
                    if self.ending and effect.id not in self.stopped_before and effect.id.process != "job":
                        assert (None, Moment.PRE_STOP) not in self.hooking or (None, Moment.PRE_STOP) in self.halted
                        users = self._users()[effect.id.process]
                        assert not [each for each in (*self.running, *self.spawning) if each.process in users]
                    self.stopping.add(effect.id)
                case Wake():
                    assert effect.after_s >= 0
                    if effect.id.process == "job":
                        (number,) = (
                            one.number for one in self.state.jobs["job"].current if one.slot == effect.id.index
                        )
                        self.limits.append((effect.id, effect.run, number))
                    else:
                        self.waking[effect.id] = effect.run
                case RunHooks():
                    key = (effect.id, effect.moment)
                    assert key not in self.hooking or key in self.halted, "the same hooks never run twice at a time"
                    self.halted.discard(key)
                    self.hooking[key] = effect.run
                    if effect.moment is Moment.PRE_START and effect.id is not None:
                        self._launch(effect.id)
                    if effect.moment in (Moment.PRE_START, Moment.POST_STOP) and effect.id is not None:
                        assert effect.id not in self.running
                case HaltHooks():
                    self.halted |= {key for key in self.hooking if key[0] == effect.id}
                case Finish():
                    assert not self.running
                    assert not self.spawning
                    assert not [key for key in self.hooking if key not in self.halted]
                    self.finished = effect.code
                case _:
                    pass

    def _launch(self, each: Id) -> None:
        """The plan that it starts by; that of the whole may have been taken back in the same step."""
        plan = self.state.instances[each].plan
        assert plan is not None
        self.launched[each] = plan

    def _users(self) -> Mapping[str, frozenset[str]]:
        """Who needs whom: what runs, as it was started, or has taken over since."""
        needs = {name: set(plan.depends_on) for name, plan in self.plan.processes.items()}
        for name in {each.process for each in self.state.instances}:
            rules = [
                one.plan or self.plan.processes[name]
                for each, one in self.state.instances.items()
                if each.process == name
            ]
            needs[name] = {other for rule in rules for other in rule.depends_on}
        return above(needs)

    def _check_reason(self, each: Id) -> None:
        """Nobody who did not change is stopped; nobody by whom too few would serve; nobody who is needed until then."""
        instance, target = self.state.instances[each], self.plan.processes.get(each.process)
        wanted = self.state.wanted.get(each.process, 0)
        if self.state.ending or instance.unwell or each.process == "job":
            return
        if target is None:
            users = self._users()[each.process] - self.plan.processes.keys()
            assert not [other for other in (*self.running, *self.spawning) if other.process in users]
            return
        if each.index >= wanted or each in self.to_renew or instance.reason != "is replaced by a new one":
            assert each.index >= wanted or each in self.to_renew
            return
        assert each in self.to_roll or needs_restart(self.launched[each], target)
        if target.is_service and is_gradual(target.rolling, wanted) and each in self.was_ready:
            # What has ended well is done with, and nobody waits for it.
            others = [one for i, one in self.state.instances.items() if i.process == each.process]
            serving = [one for one in others if one.ready or one.phase is Phase.COMPLETED]
            assert len(serving) >= wanted - target.rolling.max_unavailable

    def _check_bound(self, before: Mapping[str, Job]) -> None:
        """No run begins beside as many as may go on, and none waits where there is a place."""
        for name, job in self.state.jobs.items():
            plan = self.plan.processes.get(name)
            if plan is None or plan.schedule is None:
                continue
            known = before.get(name, Job()).current
            assert len(job.current) <= max(plan.schedule.at_once, len(known))
            assert not job.queued or len(job.current) >= plan.schedule.at_once

    def _check_dependencies(self, each: Id) -> None:
        for name, condition in self.plan.processes[each.process].depends_on.items():
            for other, instance in self.state.instances.items():
                if other.process == name and other.index < self.state.wanted[name]:
                    assert instance.phase in {Phase.RUNNING, Phase.COMPLETED}
                    if condition is Condition.COMPLETED:
                        assert instance.phase is Phase.COMPLETED
                    elif condition is Condition.READY and instance.phase is Phase.RUNNING:
                        assert instance.ready

    @precondition(lambda self: self.spawning)
    @rule(data=st.data(), works=st.sampled_from([True, True, True, False]))
    def the_system_answers(self, data: st.DataObject, works: bool) -> None:
        each = data.draw(st.sampled_from(sorted(self.spawning)))
        run = self.spawning.pop(each)
        if works:
            self.running[each] = run
            self._post(Spawned(each, run, self.now_s))
        else:
            self.stopping.discard(each)
            self._post(NotSpawned(each, run, "cannot start"))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), code=st.sampled_from([0, 1, None]), after_s=st.floats(0, 20))
    def one_ends(self, data: st.DataObject, code: int | None, after_s: float) -> None:
        each = data.draw(st.sampled_from(sorted(self.running)))
        self.now_s += after_s
        self.stopping.discard(each)
        self._post(Ended(each, self.running.pop(each), self.now_s, code, "ended", 0.5))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), well=st.booleans())
    def a_check_answers(self, data: st.DataObject, well: bool) -> None:
        each = data.draw(st.sampled_from(sorted(self.running)))
        if self.state.instances[each].plan.health_check is not None:
            self._post(Answered(each, self.running[each], well, "refused"))

    @precondition(lambda self: self.waking)
    @rule(data=st.data())
    def a_wait_is_over(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from(sorted(self.waking)))
        self._post(Due(each, self.waking.pop(each)))

    @precondition(lambda self: self.limits)
    @rule(data=st.data())
    def a_limit_is_over(self, data: st.DataObject) -> None:
        each, run, number = self.limits.pop(data.draw(st.integers(0, len(self.limits) - 1)))
        before = self.state
        self._post(Due(each, run))
        if all(one.number != number for one in before.jobs.get("job", Job()).current):
            assert self.state == before, "the limit of a run that is over is none for another"

    @precondition(lambda self: self.hooking)
    @rule(data=st.data(), well=st.booleans())
    def hooks_end(self, data: st.DataObject, well: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.hooking, key=str)))
        well = well and key not in self.halted
        self.halted.discard(key)
        self._post(Hooked(key[0], self.hooking.pop(key), key[1], None if well else "broken"))

    @precondition(lambda self: self.state.jobs)
    @rule(passes_s=st.sampled_from([1, 60, 300, -60, -7200, -86400, 86400]))
    def somebody_looks_at_the_clock(self, passes_s: int) -> None:
        self.now_s += 1
        self.wall += timedelta(seconds=passes_s)
        self._post(Looked(Watch(self.wall, self.now_s)))

    @precondition(lambda self: "job" in self.plan.processes)
    @rule()
    def somebody_triggers(self) -> None:
        self._post(Triggered("job", Watch(self.wall, self.now_s)))

    @precondition(lambda self: "job" in self.state.jobs)
    @rule(data=st.data())
    def somebody_calls_a_run_off(self, data: st.DataObject) -> None:
        job = self.state.jobs["job"]
        numbers = [run.number for run in (*job.current, *job.queued)] or [0]
        self._post(CalledOff("job", data.draw(st.sampled_from(numbers)), Watch(self.wall, self.now_s)))

    @precondition(lambda self: "job" in self.plan.processes)
    @rule(count=st.integers(0, 1))
    def somebody_stops_or_starts_the_job(self, count: int) -> None:
        self._post(Wanted("job", count))

    @rule(name=st.sampled_from(NAMES), count=st.integers(0, 3))
    def somebody_scales(self, name: str, count: int) -> None:
        if name not in self.plan.processes:
            return
        self._post(Wanted(name, min(count, 1) if self.plan.processes[name].kind is Kind.ONESHOT else count))

    @rule(name=st.sampled_from(NAMES))
    def somebody_restarts(self, name: str) -> None:
        self.to_renew |= {each for each in self.state.instances if each.process == name}
        self._post(Renewed(name))

    @rule(name=st.sampled_from(NAMES))
    def somebody_restarts_one_after_the_other(self, name: str) -> None:
        self.to_roll |= {each for each in self.state.instances if each.process == name}
        self._post(Renewed(name, rolling=True))

    @precondition(lambda self: not self.ending)
    @rule(plan=plans(names=OTHERS))
    def another_plan_comes(self, plan: Plan) -> None:
        self.number += 1
        self._post(Replanned(plan, self.number))

    @precondition(lambda self: not self.ending)
    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def one_process_changes(self, data: st.DataObject, name: str) -> None:
        old = self.plan.processes.get(name)
        if old is not None:
            new = replace(
                old, env=data.draw(st.sampled_from([{}, {"X": "1"}, {"X": "2"}])), rolling=data.draw(rollings())
            )
            self.number += 1
            self._post(Replanned(replace(self.plan, processes={**self.plan.processes, name: new}), self.number))

    @precondition(lambda self: self.promised)
    @rule(data=st.data())
    def what_was_promised_comes(self, data: st.DataObject) -> None:
        self._post(self.promised.pop(data.draw(st.integers(0, len(self.promised) - 1))))

    @rule(name=st.sampled_from(NAMES), run=st.integers(0, 1))
    def old_news_comes(self, name: str, run: int) -> None:
        known = self.state.instances.get(Id(name, 0))
        if known is not None and known.run > run:
            before = self.state
            self._post(Ended(Id(name, 0), run, self.now_s, 1, "late", 0.5))
            assert self.state == before

    @rule()
    def the_end_begins(self) -> None:
        if not self.ending:
            # Whoever was told to stop before the end goes on with that, at its own pace.
            self.stopped_before = {i for i, one in self.state.instances.items() if one.phase is Phase.STOPPING}
        self.ending = True
        self._post(Ending())

    @invariant()
    def the_machine_knows_what_runs(self) -> None:
        for each in (*self.running, *self.spawning):
            assert self.state.instances[each].phase in {Phase.RUNNING, Phase.STOPPING}
        assert self.state.ending or "job" not in self.state.jobs or self.finished is None
        for name, job in self.state.jobs.items():
            assert {each.index for each in self.running if each.process == name} <= {run.slot for run in job.current}
            assert len({run.slot for run in job.current}) == len(job.current)
            numbers = [run.number for run in (*job.history, *job.current, *job.queued)]
            assert len(set(numbers)) == len(numbers)
            assert [run.number for run in job.current] == sorted(run.number for run in job.current)
        for each, instance in self.state.instances.items():
            hooked = [key for key in self.hooking if key[0] == each]
            if instance.phase in {Phase.RUNNING, Phase.STOPPING}:
                assert each in self.running or each in self.spawning or (hooked and instance.phase is Phase.STOPPING)
            if instance.phase in {Phase.STARTING, Phase.CLEANING}:
                assert hooked
            if instance.phase is Phase.BACKING_OFF:
                assert self.waking.get(each) == instance.run
            if instance.ready:
                assert instance.phase is Phase.RUNNING

    @invariant()
    def what_is_wanted_is_on_its_way(self) -> None:
        for each, instance in self.state.instances.items():
            wanted = each.index < self.state.wanted.get(each.process, 0)
            if each.process in self.state.jobs and each.index:  # it is there for a run
                wanted = each.index in {run.slot for run in self.state.jobs[each.process].current}
                wanted = wanted and self.state.wanted.get(each.process, 0) > 0
            if wanted and not self.state.ending:
                assert instance.phase is not Phase.STOPPED
            elif each.process in self.state.rolls:
                pass  # it may run beside the wanted ones
            elif self.state.stage is Stage.PARTING:
                assert (None, Moment.PRE_STOP) in self.hooking
            elif each not in self.stopping and instance.phase is Phase.RUNNING:
                taken_out = each.process not in self.plan.processes
                assert self.ending or taken_out, "who is stopped by hand is stopped at once"
                users = self._users()[each.process]
                there = [other for other, one in self.state.instances.items() if one.phase not in ABSENT]
                assert [other for other in there if other.process in users]

    def _all_goes_well(self) -> None:
        """Whatever has begun comes to an end by itself, once everything works."""
        for _ in range(200):
            for each in tuple(self.spawning):
                self.running[each] = self.spawning.pop(each)
                self._post(Spawned(each, self.running[each], self.now_s))
            for key, run in tuple(self.hooking.items()):
                del self.hooking[key]
                self._post(Hooked(key[0], run, key[1], "halted" if key in self.halted else None))
                self.halted.discard(key)
            for each, run in tuple(self.running.items()):
                plan = self.state.instances[each].plan
                assert plan is not None
                if each in self.stopping or not plan.is_service:
                    self.stopping.discard(each)
                    del self.running[each]
                    self._post(Ended(each, run, self.now_s, 0, "ended", 0.5))
                elif plan.health_check is not None and not self.state.instances[each].ready:
                    self._post(Answered(each, run, True, ""))
            for each, run in tuple(self.waking.items()):
                del self.waking[each]
                self._post(Due(each, run))
            promised, self.promised = self.promised, []
            soon = [event for event in promised if isinstance(event, Proven)]
            self.promised += [event for event in promised if not isinstance(event, Proven)]
            for event in soon:
                self._post(event)
            if not (soon or self.spawning or self.hooking or self.stopping or self.waking):
                if not self.promised:
                    break
                self._post(self.promised.pop())  # nothing else moves, so this time comes
        else:
            raise AssertionError("it never comes to rest")
        if self.finished is not None:
            return
        reload = self.state.reload
        assert reload is None or reload.outcome is not Outcome.PENDING
        for name, roll in self.state.rolls.items():
            phases = {one.phase for each, one in self.state.instances.items() if each.process == name}
            assert roll.halted or Phase.WAITING in phases or self._is_without_what_it_needs(name)
        for each, one in self.state.instances.items():
            assert each.process in self.plan.processes
            if one.phase is Phase.RUNNING and each.process not in self.state.rolls:
                assert one.plan is self.plan.processes[each.process]
                assert not one.stale
                assert each.index < self.state.wanted[each.process]
            assert one.phase in AT_REST | {Phase.RUNNING, Phase.SCHEDULED, Phase.WAITING}

    def _is_without_what_it_needs(self, name: str) -> bool:
        return any(
            self.state.wanted[other] == 0 or self.state.instances[Id(other, 0)].phase in AT_REST | {Phase.WAITING}
            for other in self.plan.processes[name].depends_on
        )

    def teardown(self) -> None:
        """Once the end has begun and everything that was told to stop has, the whole is over."""
        if not hasattr(self, "running") or self.broken:
            return  # a failure is told already, and what comes of it would hide it
        if not self.ending and self.finished is None:
            self._all_goes_well()
        self.the_end_begins()
        while self.spawning or self.running or self.hooking:
            for each in tuple(self.spawning):
                self.running[each] = self.spawning.pop(each)
                self._post(Spawned(each, self.running[each], self.now_s))
            for key, run in tuple(self.hooking.items()):
                del self.hooking[key]
                self.halted.discard(key)
                self._post(Hooked(key[0], run, key[1], "broken"))
            assert self.stopping or self.hooking or not self.running, "somebody is left and nobody is told to stop"
            for each in sorted(self.stopping & set(self.running)):
                self.stopping.discard(each)
                self._post(Ended(each, self.running.pop(each), self.now_s, None, "was killed", 0.5))
        assert self.finished is not None
        assert self.finished == 0 or all(one.phase in AT_REST for one in self.state.instances.values())


TestSupervisions = Supervisions.TestCase
TestSupervisions.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
