"""Schedules on SQLite."""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from millrace.domain.records import NewJob
from millrace.domain.schedules import RUNS_KEPT, NewSchedule, Outcome, Run, Schedule, refused
from millrace.store import rows
from millrace.store.sqlite.access import Access
from millrace.store.sqlite.connection import Session
from millrace.store.sqlite.jobs import add_jobs


class Schedules(Access):
    """This part of a :class:`~millrace.store.many.ManyJobs`."""

    async def add_schedule(self, schedule: NewSchedule) -> Schedule | None:
        return await self._write(lambda session: _add(session, schedule))

    async def schedules(self) -> Sequence[Schedule]:
        return await self._read(lambda session: [rows.schedule(row) for row in session.all("schedules")])

    async def schedule(self, schedule_id: str) -> Schedule | None:
        return await self._read(lambda session: _schedule(session, schedule_id))

    async def due_schedules(self, *, limit: int) -> Sequence[Schedule]:
        return await self._read(
            lambda session: [rows.schedule(row) for row in session.all("due_schedules", session.now_ms, limit)]
        )

    async def set_schedule_due(self, schedule_id: str, due_at: datetime | None) -> bool:
        due_ms = None if due_at is None else rows.to_ms(due_at)
        return await self._write(lambda session: session.one("set_schedule_due", schedule_id, due_ms) is not None)

    async def remove_schedule(self, schedule_id: str) -> bool:
        return await self._write(lambda session: session.one("remove_schedule", schedule_id) is not None)

    async def run_schedule(
        self, schedule: Schedule, run: Run, *, next_due: datetime | None, job: NewJob | None
    ) -> Run | None:
        return await self._write(lambda session: _run(session, schedule, run, next_due, job))

    async def runs(self, schedule_id: str, *, limit: int) -> Sequence[Run]:
        return await self._read(lambda session: [rows.run(row) for row in session.all("runs", schedule_id, limit)])


def _add(session: Session, new: NewSchedule) -> Schedule | None:
    made = session.one(
        "add_schedule", new.id, new.tenant, new.name, new.cron, new.zone, new.overlap, new.missed, new.request, new.actor,
        session.now_ms, None if new.due_at is None else rows.to_ms(new.due_at),
    )  # fmt: skip
    return None if made is None else _schedule(session, new.id)


def _schedule(session: Session, schedule_id: str) -> Schedule | None:
    row = session.one("schedule", schedule_id)
    return None if row is None else rows.schedule(row)


def _run(session: Session, schedule: Schedule, run: Run, next_due: datetime | None, job: NewJob | None) -> Run | None:
    was_due, due = (None if one is None else rows.to_ms(one) for one in (schedule.due_at, next_due))
    taken = session.one("take_schedule", schedule.id, was_due, schedule.last_job, due)
    due_ms = rows.to_ms(run.due_at)
    if taken is None or session.one("run_of", schedule.id, due_ms) is not None:
        return None
    if job is not None:
        (added,) = add_jobs(session, [job])
        if added.refused is not None:
            run = replace(run, outcome=Outcome.REFUSED, reason=refused(added.refused))
        else:
            run = replace(run, job=added.number, state=added.state)
            session.run("set_last_job", schedule.id, added.number)
    session.run(
        "add_run", schedule.id, due_ms, session.now_ms, run.actor, run.outcome, rows.storable(run.reason), run.job
    )
    session.run("forget_runs", schedule.id, RUNS_KEPT)
    return replace(run, at=session.now)
