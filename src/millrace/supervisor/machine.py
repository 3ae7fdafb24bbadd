"""The rules of keeping processes: an event comes in, a new state and what is to be done come out. Pure.

Every event is noted first; then `_settle` compares what is wanted with what is there, and moves each instance one step
closer. So the order of starting and stopping is one rule, whatever happened.
"""

from msgspec.structs import replace

from millrace.supervisor.change.autoscale import Scaling
from millrace.supervisor.change.turnover import Turnover
from millrace.supervisor.graph import layout
from millrace.supervisor.health.rules import Told, Verdict, after_answer, after_notice, after_silence, at_the_start
from millrace.supervisor.hooks import Moment
from millrace.supervisor.plan import Plan
from millrace.supervisor.restart import Again, after_end, paced
from millrace.supervisor.schedule.jobs import Job, Outcome, cleared
from millrace.supervisor.scheduled_runs import ScheduledRuns
from millrace.supervisor.state import (
    AT_REST,
    Answered,
    Await,
    CalledOff,
    Due,
    Effect,
    Ended,
    Ending,
    Event,
    Finish,
    Gone,
    HaltHooks,
    Hooked,
    Id,
    Instance,
    Late,
    Looked,
    Measured,
    Notified,
    NotSpawned,
    OfRun,
    Overdue,
    Paused,
    Phase,
    Probe,
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
    Unpinned,
    Wake,
    Wanted,
)

CUT_SHORT = 3
"""The exit code where all was told to end and did not in its time: something was killed, or hooks were passed over.

s6-svscan says 0 then, and systemd calls such a unit failed (Result: timeout). A code of its own, because 1 says that something
was broken before, and 137 that the supervisor was itself killed; who does not mind can name it (SuccessExitStatus=).
"""
_SETTLED = frozenset(Phase) - {Phase.STOPPED, Phase.SCHEDULED, Phase.WAITING}
"""Phases of which an instance that is wanted is left only by an event of its own."""


def begin(plan: Plan) -> tuple[State, tuple[Effect, ...]]:
    """The state in which a supervisor starts, and the first things to do."""
    wanted = {name: process.scale if process.autostart else 0 for name, process in plan.processes.items()}
    jobs = {name: Job() for name, process in plan.processes.items() if process.schedule is not None}
    scalings = {name: Scaling() for name, process in plan.processes.items() if process.autoscale is not None}
    machine = _Machine(State(plan=plan, wanted=wanted, jobs=jobs, scalings=scalings))
    machine.open()
    machine.settle()
    return machine.result()


def step(state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """What an event changes. News of a run that is over changes nothing, and nothing does once the whole is over."""
    if state.stage is Stage.OVER:
        return state, ()
    machine = _Machine(state)
    machine.note(event)
    machine.settle(event)
    return machine.result()


class _Machine(ScheduledRuns, Turnover):
    """One step: the event is noted, then everything is moved towards what is wanted."""

    # What happened ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Nothing starts before the hooks of the whole have run."""
        if Moment.PRE_START in self._plan.hooks:
            self._stage = Stage.PREPARING
            self._effects.append(RunHooks(None, 0, Moment.PRE_START))

    def note(self, event: Event) -> None:
        match event:
            case Wanted() | Renewed() | Paused():
                self._steer(event)
            case Replanned() | ReloadLate() | Proven() | Late() | Measured() | Unpinned():
                self._hear_of_change(event)
            case Ending():
                self._cut_short = self._cut_short or event.hurried
                self._begin_to_end()
            case Looked():
                self._look(event.watch)
            case Triggered():
                self._look(event.watch)
                self._trigger(event.process, event.watch)
            case CalledOff():
                self._call_off(event.process, event.number, event.watch)
            case Hooked() if event.id is None:
                self._hear_of_all(event)
            case _:
                instance = None if event.id is None else self._instances.get(event.id)
                if instance is not None and instance.run == event.run:
                    self._hear(event, instance)

    def _steer(self, event: Wanted | Renewed | Paused) -> None:
        match event:
            case Wanted():
                self._want(event.process, event.count, pins=event.pins)
            case Renewed():
                self._renew(event.process, rolling=event.rolling)
            case Paused() if event.process in self._jobs:
                self._jobs[event.process] = replace(self._jobs[event.process], paused=event.paused)
            case _:
                pass

    def _want(self, process: str, count: int, *, pins: bool = False) -> None:
        if process not in self._plan.processes:
            return
        if pins and process in self._scalings:
            self._scalings[process] = replace(self._scalings[process], pinned=True)
        if process in self._jobs:
            count = min(count, 1)
            if not count:
                self._jobs[process] = cleared(self._jobs[process])
        self._wanted[process] = count
        for each in self._of(process):
            # Who starts what was given up wants it tried afresh.
            if each.index < count and self._instances[each].phase in AT_REST:
                self._set(each, phase=Phase.STOPPED, failures=0, reason="")

    def _renew(self, process: str, *, rolling: bool) -> None:
        if self._ending or process not in self._plan.processes:
            return
        self._rolls.pop(process, None)
        if process in self._jobs:
            self._jobs[process] = cleared(self._jobs[process])
        for each in self._of(process):
            phase = self._instances[each].phase
            if phase in (Phase.RUNNING, Phase.STARTING) and rolling:
                self._set(each, stale=True)
            elif phase in (Phase.RUNNING, Phase.STARTING):
                # It counts afresh, and what was left of replacing them in turn is over.
                self._set(each, failures=0, stale=False)
                self._stop(each, "asked to restart")
            elif phase not in (Phase.STOPPING, Phase.CLEANING) and process not in self._jobs:
                self._set(each, phase=Phase.STOPPED, failures=0, reason="")

    def _begin_to_end(self) -> None:
        if self._ending:
            return
        self._ending = True
        self._jobs = {name: cleared(job) for name, job in self._jobs.items()}
        if self._plan.hooks:
            self._effects.append(HaltHooks(None))
        if self._stage is Stage.PREPARING:
            return  # they tell when they have stopped
        self._stage = Stage.STOPPING
        if Moment.PRE_STOP in self._plan.hooks:
            self._stage = Stage.PARTING
            self._effects.append(RunHooks(None, 0, Moment.PRE_STOP))

    def _hear_of_all(self, event: Hooked) -> None:
        match event.moment, self._stage:
            case Moment.PRE_START, Stage.PREPARING if self._ending:
                self._stage = Stage.OVER
            case Moment.PRE_START, Stage.PREPARING if event.why is not None:
                self._stage, self._ending, self._code = Stage.OVER, True, 1
            case Moment.PRE_START, Stage.PREPARING:
                self._stage = Stage.STARTING
            case Moment.PRE_STOP, Stage.PARTING:
                self._stage = Stage.STOPPING
            case Moment.POST_STOP, Stage.CLOSING:
                self._stage = Stage.OVER
            case _:
                pass

    def _hear(self, event: OfRun, instance: Instance) -> None:
        match event:
            case Spawned():
                self._begin(event, instance)
            case NotSpawned():
                self._halt(event.id)
                self._fail(event.id, event.why)
            case Answered() | Notified() | Overdue() if instance.phase is Phase.RUNNING:
                self._hear_health(event, instance)
            case Ended():
                self._end(event, instance)
            case Due() if instance.phase is Phase.BACKING_OFF:
                self._set(event.id, phase=Phase.WAITING)
            case Due() if instance.phase is Phase.RUNNING and event.id.process in self._jobs:
                self._time_out(event.id)
            case Hooked() if event.id is not None:
                self._after_hooks(event, event.id, instance)
            case _:
                pass

    def _hear_health(self, event: Answered | Notified | Overdue, instance: Instance) -> None:
        plan = self._rule(event.id)
        match event, plan.health_check:
            case _, None:
                pass
            case Answered(), check:
                self._judge(event.id, after_answer(check, instance, well=event.well, why=event.why))
            case Notified(), check:
                self._judge(event.id, after_notice(check, instance, event.notice, stop_s=plan.shutdown.timeout_s))
            case Overdue(), check:
                self._judge(event.id, after_silence(check, instance))

    def _begin(self, event: Spawned, instance: Instance) -> None:
        """The process is there."""
        each, plan = event.id, self._rule(event.id)
        running = instance.phase is Phase.RUNNING
        self._set(each, began_s=event.at_s, there=True, ran=True, ready=running and not self._is_gated(each))
        if (check := self._check(each)) is not None:
            self._effects.append(Probe(each, event.run))
            if (patience := at_the_start(check)) is not None:
                self._effects.append(Await(each, event.run, patience))
        if running and Moment.POST_START in plan.hooks:
            self._effects.append(RunHooks(each, event.run, Moment.POST_START))
        self._begin_run(event)

    def _after_hooks(self, event: Hooked, each: Id, instance: Instance) -> None:
        match event.moment, instance.phase:
            case Moment.PRE_START, Phase.STARTING if event.why is None and self._missing(each.process) is not None:
                self._set(each, phase=Phase.WAITING)  # what it depends on went away meanwhile
            case Moment.PRE_START, Phase.STARTING if event.why is None:
                self._launch(each)
            case Moment.PRE_START, Phase.STARTING if instance.ran and each.process not in self._jobs:
                # It has served, so this must not be the end of it: it counts as one more start that failed.
                self._come_back(event, each, failures=instance.failures + 1)
            case Moment.PRE_START, Phase.STARTING:
                self._fail(each, event.why or "")
            case Moment.PRE_START, Phase.STOPPING:
                self._rest(each, instance.reason)
            case Moment.PRE_STOP, Phase.STOPPING:
                self._effects.append(Stop(each, event.run))  # whatever came of them
            case Moment.POST_STOP, Phase.CLEANING if instance.end is not None:
                self._set(each, end=None)
                self._decide(instance.end, instance, asked=instance.asked)
            case _:
                pass

    def _come_back(self, event: Hooked, each: Id, *, failures: int) -> None:
        """Try again after a hook before the start has failed, as often as the restart rule allows."""
        why = event.why or ""
        decision = after_end(self._rule(each), code=None, how=why, failures=failures, draw=event.draw)
        self._set(each, failures=failures)
        if isinstance(decision, Again):
            self._set(each, phase=Phase.BACKING_OFF, reason=why)
            self._effects.append(Wake(each, event.run, decision.after_s))
        else:
            self._fail(each, decision.why)

    def _judge(self, each: Id, verdict: Verdict) -> None:
        """Do what became of an answer, a notice or a silence."""
        run = self._set(each, **verdict.fields).run
        if verdict.patience is not None:
            self._effects.append(Await(each, run, verdict.patience))
        # At the end of all it is stopped in its order, and what depends on it may still need it.
        if verdict.unwell and not self._ending:
            self._stop(each, f"unhealthy: {verdict.unwell}", unwell=True)

    def _end(self, event: Ended, instance: Instance) -> None:
        """The process is gone; what becomes of it is decided when its hooks after the stop have run."""
        each, asked = event.id, instance.phase is Phase.STOPPING
        self._halt(each)
        self._cut_short = self._cut_short or (event.forced and self._ending)
        self._set(each, there=False, ready=False)
        if Moment.POST_STOP in self._rule(each).hooks:
            self._set(each, phase=Phase.CLEANING, end=event, asked=asked)
            self._effects.append(RunHooks(each, event.run, Moment.POST_STOP))
        else:
            self._decide(event, instance, asked=asked)

    def _decide(self, event: Ended, instance: Instance, *, asked: bool) -> None:
        plan = self._rule(event.id)
        if event.id.process in self._jobs:
            self._end_run(event, instance, asked=asked)
            return
        if asked and not (instance.unwell and self._is_wanted(event.id)):
            self._set(event.id, phase=Phase.STOPPED, unwell=False, reason=event.how)
            return
        code, how = (None, instance.reason) if instance.unwell else (event.code, event.how)
        stable = event.at_s - instance.began_s >= plan.restart.stable_s
        failures = 1 if stable else instance.failures + 1
        decision = after_end(plan, code=code, how=how, failures=failures, draw=event.draw)
        self._set(event.id, unwell=False, failures=failures)
        if isinstance(decision, Again):
            self._set(event.id, phase=Phase.BACKING_OFF, reason=how)
            after_s = decision.after_s
            if not stable:
                after_s, self._storm_s = paced(plan.restart, after_s, now_s=event.at_s, storm_s=self._storm_s)
            self._effects.append(Wake(event.id, event.run, after_s))
        else:
            phase = Phase.COMPLETED if decision.well else Phase.FAILED
            self._set(event.id, phase=phase, reason=decision.why)

    def _fail(self, each: Id, why: str) -> None:
        """It never started, and is given up; a scheduled process comes again at its next time."""
        if each.process in self._jobs:
            self._close_run(each, Outcome.FAILED, why)
        else:
            self._set(each, phase=Phase.FAILED, ready=False, reason=why)

    def _rest(self, each: Id, reason: str) -> None:
        """It was told to stop before its process was there."""
        if each.process in self._jobs:
            run = self._run_of(each)
            self._close_run(each, (run and run.verdict) or Outcome.STOPPED, reason)
        else:
            self._set(each, phase=Phase.STOPPED, reason=reason)

    # What is to be done ----------------------------------------------------------------------------------------------

    def settle(self, event: Event | None = None) -> None:
        """Move every instance towards what is wanted, as far as can be; only those that the event can move, where that is known."""
        mover = None if event is None else self._mover(event)
        if mover is not None:
            self._settle_near(mover)
        else:
            standing = None
            while standing != (standing := self._standing_of_all()):
                self._settle_once()
        self._finish_start()
        self._finish()

    def _mover(self, event: Event) -> Id | None:
        """The one instance that an event has moved, where that moves at most what depends on it. None: look at everything.

        The whole was settled before the event. While no change of the plan and no end is under way, an instance is moved by
        its own events and by those of what its process depends on; at the end of all, by those of what depends on it. So a
        hundred that crash, or are stopped, do not look at each other.
        """
        each = event.id if isinstance(event, OfRun) else None
        if (
            each is None
            or each not in self._instances
            or self._is_changing()
            or self._stage not in (Stage.STARTING, Stage.UP, Stage.STOPPING)
        ):
            return None
        _, users = layout(self._plan.processes)
        return each if self._jobs.keys().isdisjoint((each.process, *users[each.process])) else None

    def _settle_near(self, mover: Id) -> None:
        """The same as `_settle_once` as far as one instance goes, and those of the processes that depend on its."""
        if self._ending:
            self._settle_near_the_end(mover)
            return
        names, users = layout(self._plan.processes)
        if mover in self._instances and not self._is_wanted(mover):
            self._take_down(mover, blocked=False)
        if mover in self._instances:
            self._bring_up_if_due(mover)
        near = users[mover.process]
        for each in (each for name in names if name in near for each in self._of(name)):
            self._bring_up_if_due(each)

    def _settle_near_the_end(self, mover: Id) -> None:
        """The same at the end of all: one instance, and those of the processes that wait for its to be gone."""
        above = self._above()
        waiting = {name for name, users in above.items() if mover.process in users}
        near = sorted({mover, *(each for name in waiting for each in self._of(name))}, reverse=True)
        standing = None
        while standing != (standing := [one and one.phase for one in map(self._instances.get, near)]):
            for each in near:
                if each in self._instances:
                    self._take_down(each, blocked=any(map(self._is_there, above[each.process])))

    def _settle_once(self) -> None:
        self._judge_change()  # before anything is stopped for a plan that is taken back
        names, _ = layout(self._plan.processes)
        above = self._above()
        self._turn_over(names, above)
        for name in names:
            if name in self._jobs or len(self._of(name)) < self._count(name):
                for each in self._due_there(name):
                    if each not in self._instances:
                        self._add(each)
        parting = self._stage is Stage.PARTING
        going = {each.process for each in self._instances} - set(names)
        for each in sorted(self._instances, reverse=True):
            if not self._is_wanted(each):
                # Who stops one by hand means that one; the end of all, and another plan, wait for dependents.
                blocked = self._ending and (parting or any(map(self._is_there, above[each.process])))
                blocked = blocked or (each.process in going and any(map(self._is_leaving, above[each.process])))
                self._take_down(each, blocked=blocked)
        # After that, so that who waits for what is just being stopped knows it.
        for name in names:
            for each in self._of(name):
                self._bring_up_if_due(each)
        self._finish_change()

    def _due_there(self, name: str) -> list[Id]:
        """The instances that there shall be: of a scheduled process one, and one more for each further run."""
        if name not in self._jobs or not self._wanted.get(name):
            return [Id(name, index) for index in range(self._count(name))]
        return [Id(name, slot) for slot in sorted({0, *(run.slot for run in self._jobs[name].current)})]

    def _bring_up_if_due(self, each: Id) -> None:
        if self._instances[each].phase not in _SETTLED and self._is_wanted(each):
            self._bring_up(each)

    def _bring_up(self, each: Id) -> None:
        instance, run = self._instances[each], self._run_of(each)
        if instance.phase is Phase.STOPPED:
            instance = self._set(each, phase=Phase.SCHEDULED if each.process in self._jobs else Phase.WAITING)
        if instance.phase is Phase.SCHEDULED and run is not None:
            instance = self._set(each, phase=Phase.WAITING)
        if instance.phase is not Phase.WAITING:
            return
        if self._stage is Stage.PREPARING:
            self._set(each, reason="waits for the hooks before the start")
            return
        missing = self._missing(each.process)
        if missing is None:
            self._prepare(each, instance)
        elif missing[1]:
            self._fail(each, f"cannot start: it depends on {missing[0]}, which failed")
        else:
            self._set(each, reason=f"waits for {missing[0]}")

    def _prepare(self, each: Id, instance: Instance) -> None:
        # An instance that comes and goes with its runs never has one number twice, so old news is known as old.
        of_schedule = self._run_of(each)
        run = max(instance.run + 1, 0 if of_schedule is None else of_schedule.number)
        check = self._plan.processes[each.process].health_check
        self._set(
            each, phase=Phase.STARTING, run=run, ready=False, passes=0, misses=0, reason="", status="", told=Told.NOTHING,
            watchdog_s=check.watchdog_s if check is not None else 0.0,
            restarts=instance.restarts + (1 if instance.run and each.process not in self._jobs else 0),
            plan=self._plan.processes[each.process], stale=False,
        )  # fmt: skip
        self._limit(each)
        if Moment.PRE_START in self._rule(each).hooks:
            self._effects.append(RunHooks(each, run, Moment.PRE_START))
        else:
            self._launch(each)

    def _launch(self, each: Id) -> None:
        instance = self._set(each, phase=Phase.RUNNING)
        self._effects.append(Spawn(each, instance.run))

    def _take_down(self, each: Id, *, blocked: bool) -> None:
        phase = self._instances[each].phase
        if phase is Phase.STARTING or (phase is Phase.RUNNING and not blocked):
            self._stop(each, "asked to stop")
        elif phase in (Phase.WAITING, Phase.BACKING_OFF):
            self._rest(each, "asked to stop")
        elif phase is Phase.SCHEDULED:
            self._set(each, phase=Phase.STOPPED)
        # What is taken out is remembered as long as it tells who needs whom.
        taken_out = each.process not in self._plan.processes and not blocked
        further_run = each.index > 0 and each.process in self._jobs
        surplus = each.index >= self._wanted.get(each.process, 0) > 0 or further_run or taken_out
        if self._instances[each].phase in AT_REST and surplus:
            self._remove(each)  # scaled down, its run is over, or it was taken out of the plan
            self._effects.append(Gone(each))
            if each.process not in self._plan.processes and not self._of(each.process):
                self._jobs.pop(each.process, None)

    def _finish_start(self) -> None:
        """The whole is up once each that starts by itself has been started, whatever became of it since."""
        if self._stage is not Stage.STARTING or self._ending:
            return
        if all(_was_started(one) for each, one in self._instances.items() if self._is_wanted(each)):
            self._stage = Stage.UP
            if Moment.POST_START in self._plan.hooks:
                self._effects.append(RunHooks(None, 0, Moment.POST_START))

    def _finish(self) -> None:
        if self._stage in (Stage.PREPARING, Stage.PARTING, Stage.CLOSING):
            return
        if any(instance.phase not in AT_REST for instance in self._instances.values()):
            return
        phases = [instance.phase for instance in self._instances.values()]
        if self._stage is Stage.OVER:
            self._effects.append(Finish(self._outcome(self._code)))
        elif self._ending:
            self._close(0)
        elif Phase.STOPPED not in phases and len(phases) >= len(self._plan.processes):
            self._close(1 if Phase.FAILED in phases else 0)

    def _close(self, code: int) -> None:
        """Nothing is left to keep."""
        if self._plan.hooks:
            self._effects.append(HaltHooks(None))  # those after the start may still run
        if Moment.POST_STOP not in self._plan.hooks:
            self._stage = Stage.OVER
            self._effects.append(Finish(self._outcome(code)))
            return
        self._stage, self._ending, self._code = Stage.CLOSING, True, code
        self._effects.append(RunHooks(None, 0, Moment.POST_STOP))

    def _outcome(self, code: int) -> int:
        """The exit code that tells the truth."""
        return code or (CUT_SHORT if self._cut_short else 0)


def _was_started(instance: Instance) -> bool:
    if instance.phase is Phase.RUNNING:
        return instance.there
    return instance.phase not in (Phase.STOPPED, Phase.WAITING, Phase.STARTING)
