"""Random histories of a supervision: whatever happens, in whatever order, the rules of keeping hold."""

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from supervision import a_job, a_plan, a_process

from millrace.supervisor.graph import dependents
from millrace.supervisor.hooks import Hook, Moment
from millrace.supervisor.machine import begin, step
from millrace.supervisor.plan import Condition, HealthCheck, Kind, Plan, Policy, ProbeKind, Restart
from millrace.supervisor.schedule.jobs import Watch
from millrace.supervisor.schedule.values import Overlap
from millrace.supervisor.state import (
    ABSENT,
    AT_REST,
    Answered,
    Due,
    Effect,
    Ended,
    Ending,
    Event,
    Finish,
    HaltHooks,
    Hooked,
    Id,
    Looked,
    NotSpawned,
    Phase,
    Renewed,
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
def plans(draw: st.DrawFn) -> Plan:
    found = {}
    for place, name in enumerate(NAMES):
        oneshot = draw(st.booleans())
        needs = []
        for other in NAMES[:place]:
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
        )
    if draw(st.booleans()):
        limit_s, overlap = draw(st.sampled_from([0.0, 30.0])), draw(st.sampled_from(Overlap))
        needs = ["a"] if draw(st.booleans()) else []
        found["job"] = a_job("job", "* * * * *", *needs, timeout_s=limit_s, overlap=overlap, hooks=draw(hooks()))
    return Plan(processes=a_plan(**found).processes, hooks=draw(hooks()))


class Supervisions(RuleBasedStateMachine):
    """The world: which processes really run, and what was promised to come."""

    state: State
    plan: Plan

    @initialize(plan=plans())
    def start(self, plan: Plan) -> None:
        self.plan = plan
        self.running: dict[Id, int] = {}
        self.spawning: dict[Id, int] = {}
        self.stopping: set[Id] = set()
        self.waking: dict[Id, int] = {}
        self.limits: dict[Id, int] = {}
        self.hooking: dict[tuple[Id | None, Moment], int] = {}
        self.halted: set[tuple[Id | None, Moment]] = set()
        self.wall = datetime(2026, 1, 1, tzinfo=UTC)
        self.finished: int | None = None
        self.ending = False
        self.now_s = 0.0
        self.state, effects = begin(plan)
        self._do(effects)

    def _post(self, event: Event) -> None:
        self.state, effects = step(self.state, event)
        self._do(effects)

    def _do(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Spawn():
                    assert effect.id not in self.running, "one instance never runs twice"
                    assert effect.id not in self.spawning
                    assert not self.ending, "nothing starts once the end has begun"
                    assert (None, Moment.PRE_START) not in self.hooking
                    self._check_dependencies(effect.id)
                    self.spawning[effect.id] = effect.run
                case Stop():
                    assert effect.id in self.running or effect.id in self.spawning
                    assert effect.id not in self.stopping, "nobody is stopped twice"
                    if self.ending and effect.id not in self.stopped_before and effect.id.process != "job":
                        assert (None, Moment.PRE_STOP) not in self.hooking or (None, Moment.PRE_STOP) in self.halted
                        above = dependents(self.plan.processes)[effect.id.process]
                        assert not [each for each in (*self.running, *self.spawning) if each.process in above]
                    self.stopping.add(effect.id)
                case Wake():
                    assert effect.after_s >= 0
                    (self.limits if effect.id.process == "job" else self.waking)[effect.id] = effect.run
                case RunHooks():
                    key = (effect.id, effect.moment)
                    assert key not in self.hooking or key in self.halted, "the same hooks never run twice at a time"
                    self.halted.discard(key)
                    self.hooking[key] = effect.run
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
        if self.plan.processes[each.process].health_check is not None:
            self._post(Answered(each, self.running[each], well, "refused"))

    @precondition(lambda self: self.waking)
    @rule(data=st.data())
    def a_wait_is_over(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from(sorted(self.waking)))
        self._post(Due(each, self.waking.pop(each)))

    @precondition(lambda self: self.limits)
    @rule()
    def a_limit_is_over(self) -> None:
        each, run = self.limits.popitem()
        self._post(Due(each, run))

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

    @precondition(lambda self: self.state.jobs)
    @rule()
    def somebody_triggers(self) -> None:
        self._post(Triggered("job", Watch(self.wall, self.now_s)))

    @precondition(lambda self: self.state.jobs)
    @rule(count=st.integers(0, 1))
    def somebody_stops_or_starts_the_job(self, count: int) -> None:
        self._post(Wanted("job", count))

    @rule(name=st.sampled_from(NAMES), count=st.integers(0, 3))
    def somebody_scales(self, name: str, count: int) -> None:
        self._post(Wanted(name, min(count, 1) if self.plan.processes[name].kind is Kind.ONESHOT else count))

    @rule(name=st.sampled_from(NAMES))
    def somebody_restarts(self, name: str) -> None:
        self._post(Renewed(name))

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
            if Id(name, 0) in self.running:
                assert job.current is not None
            assert len({run.number for run in job.history}) == len(job.history)
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
            wanted = each.index < self.state.wanted.get(each.process, 0) and not self.state.ending
            if wanted:
                assert instance.phase is not Phase.STOPPED
            elif self.state.stage is Stage.PARTING:
                assert (None, Moment.PRE_STOP) in self.hooking
            elif each not in self.stopping and instance.phase is Phase.RUNNING:
                assert self.ending, "who is stopped by hand is stopped at once"
                above = dependents(self.plan.processes)[each.process]
                there = [other for other, one in self.state.instances.items() if one.phase not in ABSENT]
                assert [other for other in there if other.process in above]

    def teardown(self) -> None:
        """Once the end has begun and everything that was told to stop has, the whole is over."""
        if not hasattr(self, "running"):
            return
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
TestSupervisions.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
