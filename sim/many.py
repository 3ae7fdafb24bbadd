"""Jobs that were submitted together, run after others, or come by a schedule: looked at after each commit, and at the end.

What a job runs after is known from the plan, and not from the store.
"""

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from millrace.domain.schedules import Outcome, Overlap
from millrace.domain.states import FINAL, State
from millrace.runtime import cron
from millrace.store.rows import to_datetime, to_ms
from sim.ledger import Moved
from sim.machines import BEGINNING

if TYPE_CHECKING:
    from sim.plan import JobPlan, SchedulePlan
    from sim.world import World

MINUTE = 60
"""How much faster cron runs here."""
OVERDUE_S = 5.0
"""How late a schedule may be where nothing goes wrong: it is looked for twice a second."""
NEVER = "cannot run: it runs after"
_next_after = cron.next_after
_HALF = (
    "SELECT b.name, b.total, count(m.job) FROM batches b LEFT JOIN batch_jobs m ON m.batch = b.number "
    "GROUP BY b.number HAVING count(m.job) <> b.total"
)
_RUNS = (
    "SELECT s.name, s.created_at, r.due_at, r.at, r.outcome, r.job FROM schedule_runs r "
    "JOIN schedules s ON s.id = r.schedule ORDER BY r.schedule, r.due_at"
)
_MEMBERS = (
    "SELECT json_extract(j.labels, '$.sim') FROM batches b JOIN batch_jobs m ON m.batch = b.number "
    "JOIN jobs j ON j.number = m.job WHERE b.id = ? ORDER BY m.job"
)


def hasty(expression: str, zone: str, moment: datetime) -> datetime:
    """In place of `cron.next_after`: a minute of cron takes a second, so that a short history has many times."""
    stretched = BEGINNING + (moment - BEGINNING) * MINUTE
    return BEGINNING + (_next_after(expression, zone, stretched) - BEGINNING) / MINUTE


class _Run(NamedTuple):
    """A time of a schedule that came, as _RUNS gives it; moments are in milliseconds of the store's time."""

    schedule: str
    created_ms: int
    due_ms: int
    at_ms: int
    outcome: str
    job: int | None


class Many:
    """What is known of them."""

    def __init__(self, world: "World") -> None:
        plan = world.plan
        self._world = world
        self._looks = bool(plan.schedules) or any(job.after or job.batch is not None for job in plan.jobs)
        self._schedules = {schedule.name: schedule for schedule in plan.schedules}
        self._waiting: dict[str, JobPlan] = {}  # by their leads, those that run after others
        self._ended: set[str] = set()  # leads that have ended once
        self._ended_badly: set[str] = set()
        self._runs: dict[tuple[str, int], _Run] = {}
        self._newest: dict[str, _Run] = {}  # of each schedule
        self._submitted: dict[int, str] = {}  # jobs of schedules, with their leads

    # After each commit ------------------------------------------------------------------------------------------------

    def moved(self, moved: Moved) -> None:
        """A row of the history, taken already."""
        if not self._looks or moved.position != 1:
            return
        if moved.source is None:
            self._accepted(moved)
        job, target = self._waiting.get(moved.task_id), State(moved.target)
        if job is not None and target is State.QUEUED:
            self._look_at_turn(moved.task_id, job)
        if job is not None and moved.reason.startswith(NEVER):
            self._look_at_refusal(moved.task_id, job)
        if target in FINAL:
            self._ended.add(moved.task_id)
            if target is not State.COMPLETED:
                self._ended_badly.add(moved.task_id)

    def _accepted(self, moved: Moved) -> None:
        if moved.actor.startswith("schedule:"):
            self._submitted[moved.job] = moved.task_id
        elif (job := self._world.farm.job(moved.task_id)).after:
            self._waiting[moved.task_id] = job

    def _before(self, job: "JobPlan") -> list[str]:
        """The leads of the jobs that it runs after."""
        return [f"{self._world.farm.people.known[index]}.1" for index in job.after]

    def _look_at_turn(self, task_id: str, job: "JobPlan") -> None:
        """It may run from now on. What has completed stays so; what has only ended may have been asked for again since."""
        for before in self._before(job):
            state = self._world.watch.tasks[before].state
            if not (before in self._ended if job.any_end else state is State.COMPLETED):
                self._world.fail("I37", f"{task_id} may run, and {before}, after which it runs, is {state}")

    def _look_at_refusal(self, task_id: str, job: "JobPlan") -> None:
        if job.any_end or not self._ended_badly.intersection(self._before(job)):
            self._world.fail(
                "I37", f"{task_id} is never to run, and none of {self._before(job)} has ended otherwise than well"
            )

    def committed(self) -> None:
        """A batch is there whole; the runs of a schedule are its times, each once, and its jobs are theirs."""
        if not self._looks:
            return
        for name, total, there in self._world.database.read(_HALF):
            self._world.fail("I37", f"{name} was accepted with {total} jobs, and {there} are there")
        if self._schedules:
            self._look_at_runs()

    def _look_at_runs(self) -> None:
        for row in self._world.database.read(_RUNS):
            run = _Run(*row)
            key = run.schedule, run.due_ms
            if key not in self._runs:
                self._runs[key] = run
                self._look_at_run(run, self._schedules[run.schedule])
            elif self._runs[key].job != run.job:
                self._world.fail(
                    "I37", f"{run.schedule} ran twice for {_s(run.due_ms)} s: {self._runs[key].job} and {run.job}"
                )
        stray = self._submitted.keys() - {run.job for run in self._runs.values()}
        if stray:
            self._world.fail("I37", f"jobs {sorted(stray)} were submitted by a schedule for none of its times")

    def _look_at_run(self, run: _Run, schedule: "SchedulePlan") -> None:
        before = self._newest.get(run.schedule)
        self._newest[run.schedule] = run
        due_ms, seen_ms = (run.created_ms, run.created_ms) if before is None else (before.due_ms, before.at_ms)
        # A run stands for all times that had come when it was made.
        while (due_ms := _following(schedule, due_ms)) < run.due_ms:
            if due_ms > seen_ms:
                self._world.fail(
                    "I37", f"{run.schedule} was not run for {_s(due_ms)} s, and then for {_s(run.due_ms)} s"
                )
        if run.outcome != Outcome.SUBMITTED:
            return
        if run.job not in self._submitted:
            self._world.fail("I37", f"{run.schedule} ran for {_s(run.due_ms)} s, and its job {run.job} is not there")
        if schedule.overlap is not Overlap.ALLOW:
            earlier = [
                self._world.watch.tasks[self._submitted[one.job]]
                for one in self._runs.values()
                if one.schedule == run.schedule and one.job is not None and one.job != run.job
            ]
            for task in earlier:
                if task.state not in FINAL:
                    self._world.fail(
                        "I37", f"{run.schedule} ran for {_s(run.due_ms)} s, and its {task.id} is {task.state}"
                    )

    # At the end -------------------------------------------------------------------------------------------------------

    def look_for_overdue(self) -> None:
        """Nothing has gone wrong for a while: no schedule is late."""
        now_ms = self._world.database.time_ms()
        for name, due_ms in self._world.database.read("SELECT name, due_at FROM schedules WHERE due_at IS NOT NULL"):
            if now_ms - due_ms > 1000 * OVERDUE_S:
                self._world.fail("I37", f"{name} was due at {_s(due_ms)} s, and nobody has run it")

    def check(self) -> None:
        """A batch that was accepted is there once, with those jobs that it was submitted with."""
        read, fail = self._world.database.read, self._world.fail
        for name, count in read("SELECT name, count(*) FROM batches GROUP BY name HAVING count(*) > 1"):
            fail("I8", f"{name} is there {count} times")
        told: dict[object, object] = {}
        for event in self._world.history.of("batch"):
            batch, batch_id = event.fields
            if told.setdefault(batch, batch_id) != batch_id:
                fail("I8", f"the key of batch {batch} gave {told[batch]} and then {batch_id}")
        for batch, batch_id in told.items():
            planned = [str(job.index) for job in self._world.plan.jobs if job.batch == batch]
            there = [row[0] for row in read(_MEMBERS, batch_id)]
            if there != planned:
                fail("I37", f"batch {batch} was submitted with jobs {planned}, and has {there}")


def _following(schedule: "SchedulePlan", due_ms: int) -> int:
    return to_ms(hasty(schedule.cron, "UTC", to_datetime(due_ms)))


def _s(moment_ms: int) -> float:
    """A moment of the store's time as one of the simulation."""
    return (moment_ms - to_ms(BEGINNING)) / 1000
