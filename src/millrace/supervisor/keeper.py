"""The thin shell: it does what the machine wants done, and tells the machine what came of it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from random import Random
from signal import Signals
from typing import Any

from msgspec.structs import replace

from millrace.process.child import Child
from millrace.process.values import Batch, CannotStart, CannotStop, Spec
from millrace.runtime.clock import Clock
from millrace.supervisor.change.metering import Meters
from millrace.supervisor.change.reloads import Outcome
from millrace.supervisor.execution import spec_of
from millrace.supervisor.facts import Facts, LastEnd
from millrace.supervisor.happenings import Happening, JobRan, Restarted, RunEnded, SignSent, why_ended
from millrace.supervisor.health.vigils import Vigils
from millrace.supervisor.hook_runs import HookRuns
from millrace.supervisor.logs.entry import Entry
from millrace.supervisor.logs.mask import Masker
from millrace.supervisor.machine import begin, step
from millrace.supervisor.plan import Plan, ProcessPlan, Recipient
from millrace.supervisor.readiness_file import ReadinessFile, is_ready
from millrace.supervisor.resources import Root
from millrace.supervisor.schedule.heartbeat import Heartbeats, Sign
from millrace.supervisor.schedule.jobs import Watch, soonest
from millrace.supervisor.state import (
    Adopt,
    Await,
    CalledOff,
    Changed,
    Due,
    Effect,
    Ended,
    Ending,
    Event,
    Finish,
    Gone,
    HaltHooks,
    Id,
    Instance,
    Late,
    Limit,
    LimitReload,
    Looked,
    NotSpawned,
    Probe,
    Prove,
    Proven,
    Reloaded,
    ReloadLate,
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
from millrace.supervisor.tuning.tuner import Tuner
from millrace.telemetry.logs import logger

log = logger("supervisor")
SIGN_PATIENCE_S = 2.0  # how long the end waits for heartbeats that are on their way

Output = Callable[[Id, Batch], Awaitable[None]]
News = Reloaded | Rolled | Rescaled
_Timed = Wake | Prove | Limit | LimitReload
_Act = Spawn | Stop | Probe | Await | Wake | RunHooks | HaltHooks | Prove | Limit | LimitReload


class Keeper:
    """Keeps what a plan says until nothing is left to keep, or `end` is called."""

    def __init__(
        self,
        plan: Plan,
        *,
        clock: Clock,
        chance: Random,
        environ: Mapping[str, str],
        cwd: Path,
        output: Output,
        opening: Callable[[Id], None] = lambda _: None,
        closing: Callable[[Id], None] = lambda _: None,
        changed: Callable[[Id, Instance | None], None] = lambda *_: None,
        adopted: Callable[[Plan], None] = lambda _: None,
        told: Callable[[News], None] = lambda _: None,
        happened: Callable[[Happening], None] = lambda _: None,
    ) -> None:
        """`environ` is what every process inherits, `output` gets what they print, `changed` hears of every change
        (None: the instance was scaled away). `opening` is called before each run, and may refuse it with CannotStart;
        `closing` when a run has ended and all that it printed was given to `output`. `happened` hears of what is over.
        `adopted` is called when another plan is in force, `told` with what becomes of changes that take their time.
        """
        self.state = State(plan=plan)
        self.facts: dict[Id, Facts] = {}
        self._clock = clock
        self._chance = chance
        self._environ = environ
        self._cwd = cwd
        self._output = output
        self._opening = opening
        self._closing = closing
        self._changed = changed
        self._adopted = adopted
        self._told = told
        self._happened = happened
        self._events: deque[Event] = deque()
        self._children: dict[Id, Child] = {}
        self._early: set[Id] = set()  # told to stop before there was anything to stop
        self._tuner = Tuner(environ)
        self._hooks = HookRuns(
            lambda: self.plan,
            plan_of=self._plan_of,
            named=self._named,
            clock=clock,
            environ=environ,
            cwd=cwd,
            output=output,
            post=self.post,
            happened=happened,
            tuned=self._tuner.variables,
            draw=chance.random,
        )
        self._heartbeats = Heartbeats(clock, self._sign_sent)
        self._vigils = Vigils(
            clock=clock, environ=environ, check_of=lambda each: self._plan_of(each).health_check, spec_of=self._spec,
            belongs=self._belongs, mask=self._mask, post=self.post, happened=happened,
        )  # fmt: skip
        self._meters = Meters(
            clock=clock, spec_of=self._spec_of_process, post=self.post
        )  # fmt: skip
        self._readiness: ReadinessFile | None = None
        self._timers: dict[tuple[type, Id | None], asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._hurried = False
        self._told_to_end_s: float | None = None
        self._code: asyncio.Future[int] | None = None

    @property
    def plan(self) -> Plan:
        """What is kept at present."""
        return self.state.plan

    @property
    def ending_for_s(self) -> float | None:
        """Seconds since it was told to end; None where it was not."""
        return None if self._told_to_end_s is None else self._clock.monotonic() - self._told_to_end_s

    async def run(self) -> int:
        """Keep everything; returns the exit code that tells the truth, when nothing is left running."""
        self._code = asyncio.get_running_loop().create_future()
        if self.plan.readiness is not None:
            self._readiness = ReadinessFile(self.plan.readiness)
        try:
            self.state, effects = begin(self.plan)
            self._do(effects)
            self._follow()
            code = await self._code
            log.info("supervisor.ended", code=code, shutdown_s=round(self.ending_for_s or 0.0, 3))
            return code
        finally:
            if self._readiness is not None:
                self._readiness.show(ready=False)
            await self._meters.close()
            await self._vigils.close()
            await self._hooks.close()
            await self._heartbeats.close(0.0 if self._hurried else SIGN_PATIENCE_S)
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def post(self, event: Event) -> None:
        """Let the machine know of something."""
        self._events.append(event)
        if len(self._events) > 1:
            return  # whoever works on the first one goes on with this
        while self._events:
            self.state, effects = step(self.state, self._events[0])
            if self._readiness is not None:
                self._readiness.show(ready=is_ready(self.plan, self.state))
            self._do(effects)
            self._events.popleft()

    def roots(self) -> dict[Id, Root]:
        """The process that each instance has at present."""
        return {each: Root(child.pid, child.mark, self.facts[each].spent_s) for each, child in self._children.items()}

    def pass_on(self, number: Signals) -> None:
        """Give a signal to the processes whose plan asks for it, each to its main process."""
        for each, child in self._children.items():
            theirs = self._plan_of(each).execution.forward.get(number)
            if theirs is not None:
                child.send(theirs)

    def signal(self, process: str, number: Signals) -> int:
        """Send a signal to the main process of each instance; to how many."""
        children = [child for each, child in self._children.items() if each.process == process]
        for child in children:
            child.send(number)
        return len(children)

    def saw(self, each: Id, entries: Sequence[Entry]) -> None:
        """Let it be known what an instance printed, before anything is filtered out and after secrets are."""
        self._vigils.saw(each, entries[0].stream, (entry.message for entry in entries))

    def trigger(self, process: str) -> None:
        """Have a run of a scheduled process now."""
        self.post(Triggered(process, self._watch()))

    def call_off(self, process: str, number: int) -> None:
        """Have one run of a scheduled process stopped, or not begin."""
        self.post(CalledOff(process, number, self._watch()))

    def end(self) -> None:
        """Stop everything in order; a second call stops it at once."""
        self._hurried = self._hurried or self._told_to_end_s is not None
        if self._told_to_end_s is None:
            self._told_to_end_s = self._clock.monotonic()
            self._task(self._hurry_late())
        if self._hurried:
            for child in self._children.values():
                child.begin_stop(0.0)
        self.post(Ending(self._hurried))
        if self._hurried:
            self._hooks.hurry()

    async def _hurry_late(self) -> None:
        await self._clock.sleep(self.plan.shutdown_timeout_s)
        log.warning("supervisor.shutdown_late", timeout_s=self.plan.shutdown_timeout_s)
        self.end()

    def _do(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Changed():
                    self._changed(effect.id, effect.instance)
                case Gone():
                    self.facts.pop(effect.id, None)
                    self._drop_timers(effect)
                    self._changed(effect.id, None)
                case Signed():
                    self._sign(effect)
                case Skipped():
                    log.warning("supervisor.run_skipped", process=effect.process, why=effect.why)
                case Adopt():
                    self._adopt(effect.plan)
                case Reloaded() | Rolled() | Rescaled():
                    self._drop_timers(effect)
                    self._told(effect)
                case Finish():
                    if self._code is not None and not self._code.done():
                        self._code.set_result(effect.code)
                case _:
                    self._act(effect)

    def _adopt(self, plan: Plan) -> None:
        """Another plan is in force: what is ours follows it."""
        if self._readiness is not None and self._readiness.readiness != plan.readiness:
            self._readiness.show(ready=False)
            self._readiness = None
        if plan.readiness is not None and self._readiness is None:
            self._readiness = ReadinessFile(plan.readiness)
            self._readiness.show(ready=is_ready(plan, self.state))
        self._follow()
        self._adopted(plan)

    def _follow(self) -> None:
        """Look at the clock and at metrics, where the plan has something to look for."""
        if self._looking is not None:
            self._looking.cancel()
        self._looking = self._task(self._look_at_the_clock()) if self.state.jobs else None
        self._meters.follow(self.plan)

    def _act(self, effect: _Act) -> None:
        match effect:
            case Spawn():
                self._task(self._spawn(effect.id, effect.run))
            case Stop():
                self._stop(effect.id)
            case Probe():
                self._vigils.begin(effect)
            case Await():
                self._vigils.wait(effect)
            case Wake() | Prove() | Limit() | LimitReload():
                self._limit(effect)
            case RunHooks():
                self._hooks.start(effect)
            case HaltHooks():
                self._hooks.halt(effect.id)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # The work itself, not one that awaits it: what is cancelled before its first step must not be left unawaited.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _plan_of(self, each: Id) -> ProcessPlan:
        """What an instance lives by: what it was started with, or has taken over since."""
        known = self.state.instances.get(each)
        return self.plan.processes[each.process] if known is None or known.plan is None else known.plan

    def _spec(self, each: Id) -> Spec:
        return self._spec_of(self._plan_of(each), self._named(each))

    def _named(self, each: Id) -> dict[str, str]:
        """The variables by which a process, and its hooks, know who they are."""
        job = self.state.jobs.get(each.process)
        run = None if job is None else job.at(each.index)
        number = {} if run is None else {"MILLRACE_RUN": str(run.number)}
        return {"MILLRACE_PROCESS": each.process, "MILLRACE_INSTANCE": str(each), **number}

    def _spec_of_process(self, name: str) -> Spec:
        return self._spec_of(self.plan.processes[name], {"MILLRACE_PROCESS": name})

    def _spec_of(self, plan: ProcessPlan, own: Mapping[str, str]) -> Spec:
        return spec_of(
            plan.execution, command=plan.command, cwd=plan.working_dir or self._cwd, environ=self._environ,
            own={**self._tuner.variables(plan), **plan.env, **own},
        )  # fmt: skip

    async def _start(self, each: Id) -> Child:
        async def print_out(batch: Batch) -> None:
            await self._output(each, batch)

        self._opening(each)
        spec = self._spec(each)
        finds_us = self._vigils.opening(each, None if spec.run_as is None else spec.run_as.uid)
        return await Child.start(replace(spec, env={**spec.env, **finds_us}), clock=self._clock, sink=print_out)

    async def _spawn(self, each: Id, run: int) -> None:
        try:
            child = await self._start(each)
        except CannotStart as error:
            self._early.discard(each)
            self._vigils.closing(each)
            self.post(NotSpawned(each, run, str(error)))
            return
        self._children[each] = child
        if child.placed.missing and self._plan_of(each).execution.resources.wanted:
            log.warning("supervisor.limits_missing", instance=str(each), limits=list(child.placed.missing))
        before = self.facts.get(each, Facts())
        self.facts[each] = Facts(
            pid=child.pid, started=self._clock.now(), last_end=before.last_end, spent_s=before.spent_s
        )
        if before.last_end is not None and each.process not in self.state.jobs:
            self._happened(Restarted(id=each, why=before.last_end.why))
        self.post(Spawned(each, run, self._clock.monotonic()))
        if each in self._early:
            self._early.discard(each)
            self._stop(each)
        try:
            end = await child.wait()
        except CannotStop as error:
            code, signal, how, spent_s, forced = None, None, str(error), before.spent_s, True
        else:
            code, signal, how, spent_s = end.code, end.signal, str(end), before.spent_s + end.cpu_s
            forced = end.forced
        finally:
            self._children.pop(each, None)
            self._vigils.closing(each)
            self._closing(each)
        began, ended = self.facts[each].started, self._clock.now()
        why = why_ended(self.state.instances.get(each), code, self._plan_of(each).restart.success_codes)
        last_end = LastEnd(at=ended, how=how, why=why, code=code, signal=signal)
        self.facts[each] = Facts(last_end=last_end, spent_s=spent_s)
        self._happened(
            RunEnded(id=each, run=run, began=began or ended, ended=ended, code=code, signal=signal, how=how, why=why)
        )
        if forced:
            log.warning("supervisor.killed", instance=str(each), why="it did not end in its time")
        self.post(Ended(each, run, self._clock.monotonic(), code, how, self._chance.random(), forced))

    def _stop(self, each: Id) -> None:
        child, rule = self._children.get(each), self._plan_of(each).shutdown
        if child is None:
            self._early.add(each)
        else:
            grace_s = 0.0 if self._hurried else rule.timeout_s
            child.begin_stop(grace_s, by=rule.signal, whole_tree=rule.to is Recipient.ALL)

    def _belongs(self, each: Id, pid: int) -> bool:
        child = self._children.get(each)
        return child is not None and child.holds(pid)

    def _mask(self, each: Id, text: str) -> str:
        return Masker(self._plan_of(each).logging.redaction).plain(text)

    def _watch(self) -> Watch:
        return Watch(self._clock.now(), self._clock.monotonic())

    async def _look_at_the_clock(self) -> None:
        while True:
            watch = self._watch()
            self.post(Looked(watch))
            await self._clock.sleep(soonest(self.state.jobs, watch.wall))

    def _sign(self, effect: Signed) -> None:
        run, plan = effect.run, self.plan.processes.get(effect.process)
        schedule = None if plan is None else plan.schedule
        if run.outcome is None:
            each = str(Id(effect.process, run.slot))
            log.info("supervisor.run_began", process=effect.process, run=run.number, by=run.by.value, instance=each)
        else:
            log.info(
                "supervisor.run_ended", process=effect.process, run=run.number, outcome=run.outcome.value, how=run.how
            )
            self._happened(JobRan(effect.process, run))
        if schedule is not None and schedule.heartbeat is not None:
            self._heartbeats.send(schedule.heartbeat, effect.process, run)

    def _sign_sent(self, process: str, sign: Sign, took_s: float, fault: str) -> None:
        at = self._clock.now()
        self._happened(SignSent(process=process, sign=sign.value, at=at, took_s=took_s, fault=fault or None))

    def _later(self, after_s: float, event: Event) -> asyncio.Task[None]:
        async def wait() -> None:
            await self._clock.sleep(after_s)
            self.post(event)

        return self._task(wait())

    def _limit(self, effect: _Timed) -> None:
        """A later one takes the place of the one before; it goes when there is nothing left to wait for."""
        key = (type(effect), None if isinstance(effect, LimitReload) else effect.id)
        if key in self._timers:
            self._timers.pop(key).cancel()
        timer = self._timers[key] = self._later(effect.after_s, _promised(effect))
        timer.add_done_callback(lambda done: self._timers.pop(key) if self._timers.get(key) is done else None)

    def _drop_timers(self, news: News | Gone) -> None:
        for (kind, each), timer in tuple(self._timers.items()):
            if _is_void(news, kind, each):
                timer.cancel()


def _is_void(news: News | Gone, kind: type, each: Id | None) -> bool:
    """Whether nobody waits any more for the time that a kind of effect has set to an instance."""
    if isinstance(news, Gone):
        return each == news.id
    if isinstance(news, Reloaded):
        return news.reload.outcome is not Outcome.PENDING and kind is LimitReload
    return isinstance(news, Rolled) and each is not None and each.process == news.process and kind is Limit


def _promised(effect: _Timed) -> Event:
    """What is to be said when the time has come."""
    match effect:
        case Wake():
            return Due(effect.id, effect.run)
        case Prove():
            return Proven(effect.id, effect.run, effect.spell)
        case Limit():
            return Late(effect.id, effect.ticket)
        case LimitReload():
            return ReloadLate(effect.number)
