"""The runs of scheduled processes: when one begins, what happens when two meet, and what became of it. Pure."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from millrace.supervisor.draft import Draft
from millrace.supervisor.schedule.jobs import By, Outcome, Verdict, Watch, over, tick, wanted
from millrace.supervisor.schedule.values import Schedule
from millrace.supervisor.state import Ended, Id, Instance, Phase, Signed, Skipped, Stage


class ScheduledRuns(Draft):
    """A draft that knows what to do with times."""

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
        each = Id(process, 0)
        self._jobs[process], verdict = wanted(schedule, self._jobs[process], by, due)
        if verdict is Verdict.SKIP:
            self._effects.append(Skipped(process, "the run before it goes on"))
        elif verdict is Verdict.REPLACE:
            phase = self._instances[each].phase
            if phase in (Phase.RUNNING, Phase.STARTING):
                self._stop(each, "replaced by the next run")
            elif phase is Phase.WAITING:
                self._close_run(each, Outcome.REPLACED, "replaced by the next run")

    def _time_out(self, each: Id) -> None:
        schedule = self._rule(each).schedule
        if schedule is not None:
            self._jobs[each.process] = replace(self._jobs[each.process], verdict=Outcome.TIMED_OUT)
            self._stop(each, f"took longer than {schedule.timeout_s:g} s")

    def _end_run(self, event: Ended, instance: Instance, *, asked: bool) -> None:
        well = event.code is not None and event.code in self._rule(event.id).restart.success_codes
        outcome, how = Outcome.SUCCEEDED if well else Outcome.FAILED, event.how
        if asked:
            outcome = self._jobs[event.id.process].verdict or Outcome.STOPPED
            how = f"{instance.reason}; {event.how}"
        self._close_run(event.id, outcome, how, code=event.code, took_s=event.at_s - instance.began_s)

    def _close_run(self, each: Id, outcome: Outcome, how: str, *, code: int | None = None, took_s: float = 0.0) -> None:
        """The run that went on is over; `took_s` is measured by the monotonic clock, as the wall's may have jumped."""
        job = self._jobs[each.process]
        if job.current is not None:
            ended = (job.current.began or job.current.due) + timedelta(seconds=took_s)
            self._jobs[each.process], run = over(job, outcome, ended, code=code, how=how)
            if run is not None:
                self._effects.append(Signed(each.process, run))
        phase = Phase.SCHEDULED if self._is_wanted(each) else Phase.STOPPED
        self._set(each, phase=phase, ready=False, reason=how)
