"""Delete what is past its retention: finished jobs with their batches, what their parts handed on, API keys that have ended, and the
beginning of the audit trail.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from millrace.scheduler.farm import Farm

_BATCH = 200
_RELAYED = 500
_BLOCKS = 1000
ENDED_KEYS_KEPT = timedelta(days=30)
"""How long ended keys are listed where finished jobs are kept for ever."""


async def clean(farm: Farm) -> Sequence[str]:
    """Delete one batch of jobs and of keys; returns the ids of the jobs, so that their files can go too."""
    now, kept = await farm.store.now(), farm.rules.keep_finished
    await farm.store.delete_ended_keys(before=now - (kept or ENDED_KEYS_KEPT), limit=_BATCH)
    if kept is None:
        return ()
    # What goes now may not have been told to webhooks yet: perhaps no master ran for all that time.
    while await farm.store.relay_messages(limit=_RELAYED) == _RELAYED:
        pass
    deleted = await farm.store.delete_finished(before=now - kept, limit=_BATCH)
    await farm.store.forget_batches(limit=_BATCH)
    return deleted


async def clean_pieces(farm: Farm, delete: Callable[[str, int], Awaitable[bool]]) -> None:
    """Delete what the parts of jobs that have ended handed on; `delete` is told a job and the position of its last task, and says
    whether it is gone. Whatever does not go now is tried again.
    """
    for job_id, last in await farm.store.ended_splits(limit=_BATCH):
        if await delete(job_id, last):
            await farm.store.forget_pieces(job_id, last)


async def clean_audit(farm: Farm) -> None:
    """Delete what is too old of the audit trail, a bounded part of it."""
    if farm.rules.keep_audit is not None:
        await farm.store.forget_audit(before=await farm.store.now() - farm.rules.keep_audit, limit=_BLOCKS)
