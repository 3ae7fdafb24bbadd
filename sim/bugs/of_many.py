"""Bugs in batches, in jobs that run after others, and in schedules."""

from collections.abc import Sequence
from typing import Any

import millrace.scheduler.duties
import millrace.scheduler.steer
from millrace.domain.after import Awaited, judge
from millrace.domain.parts import resumed
from millrace.domain.records import NewJob, Task
from millrace.domain.schedules import Schedule
from millrace.domain.states import State
from millrace.scheduler import after
from millrace.store.sqlite import batches, schedules
from millrace.store.sqlite.batches import Batches
from millrace.store.sqlite.schedules import Schedules
from sim.bugs.bug import Bug, Patches, Through, nothing, sql, without_duty


def _in_halves() -> Patches:
    """A batch is accepted in two transactions."""
    add_batch, add_jobs = Batches.add_batch, batches.add_jobs

    def first(session: Any, jobs: Sequence[NewJob]) -> Any:
        return add_jobs(session, jobs[: (len(jobs) + 1) // 2])

    async def adding(self: Any, batch: Any, jobs: Sequence[NewJob]) -> Any:
        def second(session: Any) -> None:
            number = session.one("batch", batch.id)[0]
            for one in add_jobs(session, jobs[(len(jobs) + 1) // 2 :]):
                session.run("add_batch_job", number, one.number)

        added = await add_batch(self, batch, jobs)
        if added.id == batch.id and added.refused is None:
            await self._write(second)
        return added

    return [(Batches, "add_batch", adding), (batches, "add_jobs", first)]


def _resumed_at_once() -> Patches:
    """Whoever resumes a job forgets that it waits for others."""

    def resuming(task: Task, parts: Sequence[Task], *, after_others: bool = False) -> State:
        del after_others
        return resumed(task, parts)

    return [(millrace.scheduler.steer, "resumed", resuming)]


def _forgotten_first() -> Patches:
    """A job forgets what it waits for, and then it moves."""

    async def releasing(farm: Any) -> int:
        found = await farm.store.decidable(limit=100)
        if found:
            now = await farm.store.now()
            await farm.store.forget_waits([one.task.job_id for one in found])
            moves = [after.move_of(one.task, judge(one, now)) for one in found]
            await farm.store.move([move for move in moves if move is not None])
        return len(found)

    return [(millrace.scheduler.duties, "release_waiting", releasing)]


class _Taken(Through):
    """A session in which every schedule is taken already."""

    def one(self, name: str, *args: object) -> Any:
        return (1,) if name == "take_schedule" else self._session.one(name, *args)


def _moved_first() -> Patches:
    """A schedule moves to its next time, and then the run is written."""

    async def running(self: Any, schedule: Schedule, run: Any, *, next_due: Any, job: Any) -> Any:
        def take(session: Any) -> Any:
            due = [None if one is None else schedules.rows.to_ms(one) for one in (schedule.due_at, next_due)]
            return session.one("take_schedule", schedule.id, due[0], schedule.last_job, due[1])

        if await self._write(take) is None:
            return None
        return await self._write(lambda session: schedules._run(_Taken(session), schedule, run, next_due, job))

    return [(Schedules, "run_schedule", running)]


def _job_beside() -> Patches:
    """The job of a run is added in a transaction of its own."""
    run_schedule = Schedules.run_schedule

    async def running(self: Any, schedule: Schedule, run: Any, *, next_due: Any, job: Any) -> Any:
        if job is not None:
            await self.add_jobs([job])
        return await run_schedule(self, schedule, run, next_due=next_due, job=None)

    return [(Schedules, "run_schedule", running)]


BUGS = (
    Bug(name="batch-without-key", breaks=("I8",), plant=sql(add_batch=("?7, ?8)", "nullif(?7, ?7), nullif(?8, ?8))"))),
    Bug(name="batch-in-two-halves", breaks=("I37",), plant=_in_halves),
    Bug(name="failed-taken-for-completed", breaks=("I37",), plant=lambda: [(Awaited, "is_met", property(lambda self: self._has_ended))]),
    Bug(name="resumed-before-its-turn", breaks=("I37",), plant=_resumed_at_once),
    Bug(name="retried-before-its-turn", breaks=("I37",), plant=lambda: [(millrace.scheduler.steer, "check_predecessors", nothing)]),
    Bug(name="due-before-its-turn", breaks=("I37",), plant=sql(
        due=("AND NOT EXISTS (SELECT 1 FROM dependencies d WHERE d.job = t.job)", ""),
    )),
    Bug(name="nobody-let-go", breaks=("I1",), plant=without_duty("release_waiting")),
    Bug(name="waits-forgotten-first", breaks=("I1", "I37"), plant=_forgotten_first),
    Bug(name="schedule-moved-first", breaks=("I37",), plant=_moved_first),
    Bug(name="schedule-job-beside", breaks=("I37",), plant=_job_beside),
    Bug(name="schedule-run-by-two-leaders", breaks=("I37",), plant=sql(
        take_schedule=("AND due_at IS ?2 AND last_job IS ?3", "AND ?2 IS ?2 AND ?3 IS ?3"),
        run_of=("AND due_at = ?2", "AND due_at = ?2 AND 0"),
        add_run=("INSERT INTO", "INSERT OR REPLACE INTO"),
    )),
    Bug(name="overlap-not-seen", breaks=("I37",), plant=lambda: [(Schedule, "is_busy", property(lambda _: False))]),
)  # fmt: skip
