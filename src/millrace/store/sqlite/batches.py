"""Batches on SQLite."""

from collections.abc import Collection, Sequence

from millrace.domain.batches import Batch, NewBatch
from millrace.domain.records import Job, NewJob
from millrace.domain.states import State
from millrace.domain.tenants import over_for_batch
from millrace.store import rows
from millrace.store.many import BatchAdded
from millrace.store.sqlite import tenants
from millrace.store.sqlite.access import ALONE, Access
from millrace.store.sqlite.connection import Session
from millrace.store.sqlite.jobs import add_jobs

_BEYOND = 2**62  # above every number


class Batches(Access):
    """This part of a :class:`~millrace.store.many.ManyJobs`."""

    async def add_batch(self, batch: NewBatch, jobs: Sequence[NewJob]) -> BatchAdded:
        return await self._write(lambda session: _add_batch(session, batch, jobs), weight=ALONE)

    async def batch(self, batch_id: str) -> Batch | None:
        return await self._read(lambda session: _batch(session, batch_id))

    async def batches(self, *, tenant: str | None, below: int | None, limit: int) -> Sequence[Batch]:
        return await self._read(lambda session: _batches(session, tenant, below or _BEYOND, limit))

    async def batch_jobs(
        self, batch_id: str, *, states: Collection[State], above: int | None, limit: int
    ) -> Sequence[Job]:
        return await self._read(lambda session: _batch_jobs(session, batch_id, states, above or 0, limit))

    async def forget_batches(self, *, limit: int) -> int:
        return await self._write(lambda session: len(session.all("forget_batches", limit)), weight=limit)


def _add_batch(session: Session, batch: NewBatch, jobs: Sequence[NewJob]) -> BatchAdded:
    known = session.one("known_batch", batch.tenant, batch.key)
    if known is not None:
        same = known[1] == batch.body_digest
        return BatchAdded(id=known[0], repeated=same, conflict=not same)
    limited = tenants.counted(session, batch.tenant)
    if limited is not None:
        over = over_for_batch(*limited, jobs=len(jobs), keeps=any(job.keeps for job in jobs))
        if over is not None:
            return BatchAdded(id=batch.id, refused=over, at=session.now)
    number = session.insert(
        "add_batch", batch.id, batch.tenant, batch.name, len(jobs), batch.actor, session.now_ms, batch.key, batch.body_digest
    )  # fmt: skip
    for one in add_jobs(session, jobs):
        session.run("add_batch_job", number, one.number)
    return BatchAdded(id=batch.id)


def _batch(session: Session, batch_id: str) -> Batch | None:
    row = session.one("batch", batch_id)
    return None if row is None else _counted(session, row)


def _counted(session: Session, row: rows.Row) -> Batch:
    counts = session.all("batch_counts", row[0])
    if not rows.has_split(counts):
        return rows.batch(row, counts)
    split = [number for (number,) in session.all("batch_splits", row[0])]
    return rows.batch(row, counts, session.all("standings", rows.to_text(split)))


def _batches(session: Session, tenant: str | None, below: int, limit: int) -> Sequence[Batch]:
    if tenant is None:
        found = session.all("batches", below, limit)
    else:
        found = session.all("batches_of_tenant", below, limit, tenant)
    return [_counted(session, row) for row in found]


def _batch_jobs(session: Session, batch_id: str, states: Collection[State], above: int, limit: int) -> Sequence[Job]:
    batch = session.one("batch", batch_id)
    if batch is None:
        return ()
    wanted = rows.to_text(sorted(state.value for state in states))
    numbers = [row[0] for row in session.all("batch_page", batch[0], above, wanted, limit)]
    return [rows.job(row) for row in reversed(session.all("jobs_by_numbers", rows.to_text(numbers)))]
