"""The runs of scheduled processes: when one begins, what happens when they meet, and what became of each. Pure."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from millrace.supervisor.draft import Draft
from millrace.supervisor.schedule.jobs import By, Outcome, Run, Verdict, Watch, called_off, filled, over, tick, wanted
from millrace.supervisor.schedule.values import Schedule
from millrace.supervisor.state import Ended, Id, Instance, Phase, Signed, Skipped, Spawned, Stage, Wake


class ScheduledRuns(Draft):
    """A draft that knows what to do with times. Each run goes on as an instance of its own: its slot is the index."""

    def _look(self, watch: Watch) -> None:
        before, self._watch = self._watch, watch
        for name, job in self._jobs.items():
            plan = self._plan.processes.get(name)
            schedule = None if plan is None else plan.schedule
            if schedule is None:
                continue  # it is being taken out
            self._jobs[name], due = tick(schedule, job, before, watch.wall)
            if due is not None and not job.paused and self._takes_runs(name):
                self._want_run(name, schedule, By.SCHEDULE, due)

    def _trigger(self, process: str, watch: Watch) -> None:
        schedule = self._plan.processes[process].schedule
        if schedule is None or not self._takes_runs(process):
            self._effects.append(Skipped(process, "it is not started, or nothing starts any more"))
            return
        self._want_run(process, schedule, By.HAND, watch.wall)

    def _takes_runs(self, process: str) -> bool:
        return self._is_wanted(Id(process, 0)) and self._stage is not Stage.PREPARING

    def _want_run(self, process: str, schedule: Schedule, by: By, due: datetime) -> None:
        going = self._jobs[process].current
        self._jobs[process], verdict = wanted(schedule, self._jobs[process], by, due)
        if verdict is Verdict.SKIP:
            why = "the run before it goes on" if schedule.at_once == 1 else "as many runs of it go on as may"
            self._effects.append(Skipped(process, why))
        elif verdict is Verdict.REPLACE:
            for before, run in zip(going, self._jobs[process].current, strict=True):
                if run != before:
                    self._cut(process, run, "replaced by the next run")

    def _call_off(self, process: str, number: int, watch: Watch) -> None:
        """Stop one run and no other; one that waits does not begin."""
        job = self._jobs.get(process)
        if job is None:
            return
        for run in job.current:
            if run.number == number and run.verdict is None:
                stopped = replace(run, verdict=Outcome.STOPPED)
                self._jobs[process] = job.with_run(stopped)
                self._cut(process, stopped, "asked to stop")
                return
        self._jobs[process], called = called_off(job, number, watch.wall, "asked to stop before it began")
        if called is not None:
            self._effects.append(Signed(process, called))

    def _cut(self, process: str, run: Run, reason: str) -> None:
        """Stop a run for its verdict."""
        each = Id(process, run.slot)
        phase = self._instances[each].phase if each in self._instances else Phase.SCHEDULED
        if phase in (Phase.RUNNING, Phase.STARTING):
            self._stop(each, reason)
        elif phase not in (Phase.STOPPING, Phase.CLEANING):
            self._close_run(each, run.verdict or Outcome.STOPPED, reason)

    def _begin_run(self, event: Spawned) -> None:
        """The process of a run is there."""
        each, schedule = event.id, self._rule(event.id).schedule
        run = self._run_of(each)
        if run is None or schedule is None or self._watch is None:
            return
        run = replace(run, began=self._watch.wall_at(event.at_s))
        self._jobs[each.process] = self._jobs[each.process].with_run(run)
        self._effects.append(Signed(each.process, run))
        if schedule.timeout_s:
            self._effects.append(Wake(each, event.run, schedule.timeout_s))

    def _time_out(self, each: Id) -> None:
        schedule, run = self._rule(each).schedule, self._run_of(each)
        if schedule is not None and run is not None:
            self._jobs[each.process] = self._jobs[each.process].with_run(replace(run, verdict=Outcome.TIMED_OUT))
            self._stop(each, f"took longer than {schedule.timeout_s:g} s")

    def _end_run(self, event: Ended, instance: Instance, *, asked: bool) -> None:
        run = self._run_of(event.id)
        if run is not None and run.began is None:
            # What has ended was a service before the plan gave it times; the run of this slot is still to come.
            self._set(event.id, phase=Phase.SCHEDULED, reason="")
            return
        well = event.code is not None and event.code in self._rule(event.id).restart.success_codes
        outcome, how = Outcome.SUCCEEDED if well else Outcome.FAILED, event.how
        if asked:
            outcome = (run and run.verdict) or Outcome.STOPPED
            how = f"{instance.reason}; {event.how}"
        self._close_run(event.id, outcome, how, code=event.code, took_s=event.at_s - instance.began_s)

    def _close_run(self, each: Id, outcome: Outcome, how: str, *, code: int | None = None, took_s: float = 0.0) -> None:
        """The run that went on is over; `took_s` is measured by the monotonic clock, as the wall's may have jumped."""
        run, plan = self._run_of(each), self._plan.processes.get(each.process)
        if run is not None:
            ended = (run.began or run.due) + timedelta(seconds=took_s)
            job, done = over(self._jobs[each.process], run, outcome, ended, code=code, how=how)
            self._jobs[each.process] = job if plan is None or plan.schedule is None else filled(plan.schedule, job)
            self._effects.append(Signed(each.process, done))
        if each in self._instances:
            phase = Phase.SCHEDULED if self._is_wanted(each) else Phase.STOPPED
            self._set(each, phase=phase, ready=False, reason=how)

    def _run_of(self, each: Id) -> Run | None:
        """The run that goes on as an instance."""
        job = self._jobs.get(each.process)
        return None if job is None else job.at(each.index)
