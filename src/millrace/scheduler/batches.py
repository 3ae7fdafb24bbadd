"""Batches: submit many jobs at once, see how far they are, cancel them, run those again that did not complete."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from msgspec import Struct

from millrace.domain import ids
from millrace.domain.batches import Batch, NewBatch
from millrace.domain.records import Job, NewJob
from millrace.domain.states import FINAL, State
from millrace.scheduler import steer
from millrace.scheduler.errors import ConflictError, Finding, InvalidError, KeyReusedError, NotFoundError, QuotaError
from millrace.scheduler.farm import Farm
from millrace.scheduler.submit import NO_GSTREAMER, Caller, over_quota, prepare
from millrace.wire.v1.jobs import JobRequest

UNENDED = frozenset(State) - FINAL
BAD_ENDS = FINAL - {State.COMPLETED}
_TURN = 100
"""Jobs that are checked before somebody else is served."""


class Checked(Struct, frozen=True, kw_only=True):
    """The jobs that a batch asks for, and by place what is wrong with the others."""

    jobs: Sequence[NewJob]
    wrong: dict[int, tuple[Finding, ...]]


async def check(farm: Farm, rows: Sequence[JobRequest | tuple[Finding, ...]], *, caller: Caller) -> Checked:
    """Look at every job; those that were found to be wrong already are given as what is wrong with them."""
    jobs: list[NewJob] = []
    wrong: dict[int, tuple[Finding, ...]] = {}
    for place, row in enumerate(rows):
        if place % _TURN == _TURN - 1:
            await asyncio.sleep(0)
        if isinstance(row, tuple):
            wrong[place] = row
            continue
        try:
            job, wanted = await prepare(farm, row, caller=caller)
        except InvalidError as error:
            wrong[place] = error.findings
            continue
        if wanted.needs.engine == "gstreamer":
            wrong[place] = (NO_GSTREAMER,)
            continue
        jobs.append(job)
    return Checked(jobs=jobs, wrong=wrong)


async def submit_batch(
    farm: Farm, jobs: Sequence[NewJob], *, tenant: str, name: str, caller: Caller, key: str | None, body_digest: str
) -> Batch:
    """Accept all of these jobs, or none. The same key with the same body gives the same batch again.

    Raises:
        KeyReusedError: the idempotency key was used with another body.
        QuotaError: a quota of the tenant has no room for all of them.
    """
    batch = NewBatch(
        id=farm.new_id(ids.batch_id, farm.clock.now()),
        tenant=tenant,
        name=name,
        actor=caller.name,
        key=key,
        body_digest=body_digest if key is not None else None,
    )
    added = await farm.store.add_batch(batch, jobs)
    if added.conflict:
        raise KeyReusedError(
            f"cannot accept the batch: the idempotency key {key!r} was used with another body; send the first body again, or "
            "take a new key"
        )
    if added.refused is not None and added.at is not None:
        raise over_quota(farm, tenant, added.refused, added.at, what=f"accept the batch of {len(jobs)} jobs")
    return await find_batch(farm, added.id)


async def find_batch(farm: Farm, batch_id: str) -> Batch:
    """One of them.

    Raises:
        NotFoundError: there is no such batch.
    """
    found = await farm.store.batch(batch_id)
    if found is None:
        raise NotFoundError(f"there is no batch {batch_id[:64]!r}; `millrace batches list` shows those there are")
    return found


class Steered(Struct, frozen=True):
    """The numbers of the jobs that were changed, why others were not, and where to go on; None at the end."""

    changed: Sequence[int]
    passed_over: dict[int, str]
    cursor: int | None


async def cancel(farm: Farm, batch_id: str, *, above: int | None, limit: int, actor: str) -> Steered:
    """Cancel up to `limit` of the jobs that have not ended.

    Raises:
        NotFoundError: there is no such batch.
    """
    return await _each(
        farm, batch_id, UNENDED, lambda job: steer.cancel(farm, job.id, actor=actor), above=above, limit=limit
    )


async def retry(farm: Farm, batch_id: str, *, above: int | None, limit: int, actor: str) -> Steered:
    """Run up to `limit` jobs again that did not complete, with their history kept.

    Raises:
        NotFoundError: there is no such batch.
        QuotaError: a quota of the tenant let none of them run again.
    """
    return await _each(
        farm, batch_id, BAD_ENDS, lambda job: steer.retry(farm, job.id, actor=actor), above=above, limit=limit
    )


async def _each(
    farm: Farm,
    batch_id: str,
    states: Collection[State],
    change: Callable[[Job], Awaitable[Job]],
    *,
    above: int | None,
    limit: int,
) -> Steered:
    batch = await find_batch(farm, batch_id)
    jobs = await farm.store.batch_jobs(batch.id, states=states, above=above, limit=limit)
    changed: list[int] = []
    passed_over: dict[int, str] = {}
    over: QuotaError | None = None
    for job in jobs:
        try:
            await change(job)
        except (ConflictError, NotFoundError) as error:
            passed_over[job.number] = str(error)
        except QuotaError as error:
            over = error
            passed_over[job.number] = str(error)
        else:
            changed.append(job.number)
    if over is not None and not changed:
        raise over
    return Steered(changed, passed_over, jobs[-1].number if len(jobs) == limit else None)
