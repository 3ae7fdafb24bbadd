"""Batches on PostgreSQL."""

from collections.abc import Collection, Sequence

from millrace.domain.batches import Batch, NewBatch
from millrace.domain.records import Job, NewJob
from millrace.domain.states import State
from millrace.domain.tenants import DAY_MS, over_for_batch
from millrace.store import rows
from millrace.store.many import BatchAdded
from millrace.store.postgres.access import Access
from millrace.store.postgres.connection import Session
from millrace.store.postgres.dependencies import add_with_dependencies
from millrace.store.postgres.errors import AgainError
from millrace.store.store import Added

_BEYOND = 2**62  # above every number


class Batches(Access):
    """This part of a :class:`~millrace.store.many.ManyJobs`."""

    async def add_batch(self, batch: NewBatch, jobs: Sequence[NewJob]) -> BatchAdded:
        return await self._accept(lambda session: _add_batch(session, batch, jobs))

    async def batch(self, batch_id: str) -> Batch | None:
        return await self._read(lambda session: _batch(session, batch_id))

    async def batches(self, *, tenant: str | None, below: int | None, limit: int) -> Sequence[Batch]:
        return await self._read(lambda session: _batches(session, tenant, below or _BEYOND, limit))

    async def batch_jobs(
        self, batch_id: str, *, states: Collection[State], above: int | None, limit: int
    ) -> Sequence[Job]:
        return await self._read(lambda session: _batch_jobs(session, batch_id, states, above or 0, limit))

    async def forget_batches(self, *, limit: int) -> int:
        return len(await self._write(lambda session: session.all("forget_batches", limit)))


async def _add_batch(session: Session, batch: NewBatch, jobs: Sequence[NewJob]) -> tuple[BatchAdded, Sequence[Added]]:
    # The tenant's row stays locked, so that what has room now has it to the end, and a rival with the same key has ended.
    (now_ms,) = await session.one("now")
    counts = await session.one("counts", batch.tenant, now_ms // DAY_MS)
    known = await session.one("known_batch", batch.tenant, batch.key)
    if known is not None:
        same = known[1] == batch.body_digest
        return BatchAdded(id=known[0], repeated=same, conflict=not same), ()
    if counts is not None:
        over = over_for_batch(*rows.counts(counts), jobs=len(jobs), keeps=any(job.keeps for job in jobs))
        if over is not None:
            return BatchAdded(id=batch.id, refused=over, at=rows.to_datetime(now_ms)), ()
    made = await session.one(
        "add_batch", batch.id, batch.tenant, batch.name, len(jobs), batch.actor, batch.key, batch.body_digest
    )
    if made is None:
        raise AgainError(f"another batch has key {batch.key}")
    added = await add_with_dependencies(session, jobs)
    if any(one.refused is not None for one in added):
        raise AgainError("the day of the tenant's quota has ended meanwhile")
    await session.run("add_batch_job", made[0], [one.number for one in added])
    return BatchAdded(id=batch.id), added


async def _batch(session: Session, batch_id: str) -> Batch | None:
    row = await session.one("batch", batch_id)
    return None if row is None else await _counted(session, row)


async def _counted(session: Session, row: rows.Row) -> Batch:
    counts = await session.all("batch_counts", row[0])
    if not rows.has_split(counts):
        return rows.batch(row, counts)
    split = [number for (number,) in await session.all("batch_splits", row[0])]
    return rows.batch(row, counts, await session.all("standings", split))


async def _batches(session: Session, tenant: str | None, below: int, limit: int) -> Sequence[Batch]:
    if tenant is None:
        found = await session.all("batches", below, limit)
    else:
        found = await session.all("batches_of_tenant", below, limit, tenant)
    return [await _counted(session, row) for row in found]


async def _batch_jobs(
    session: Session, batch_id: str, states: Collection[State], above: int, limit: int
) -> Sequence[Job]:
    batch = await session.one("batch", batch_id)
    if batch is None:
        return ()
    wanted = sorted(state.value for state in states)
    numbers = [row[0] for row in await session.all("batch_page", batch[0], above, wanted, limit)]
    return [rows.job(row) for row in reversed(await session.all("jobs_by_numbers", numbers))]
