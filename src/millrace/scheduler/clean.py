"""Delete finished jobs, and the beginning of the audit trail, past their retention."""

from collections.abc import Sequence

from millrace.scheduler.farm import Farm

_BATCH = 200
_BLOCKS = 1000


async def clean(farm: Farm) -> Sequence[str]:
    """Delete one batch of jobs that finished before the retention; returns their ids, so that their files can go too."""
    if farm.rules.keep_finished is None:
        return ()
    before = await farm.store.now() - farm.rules.keep_finished
    return await farm.store.delete_finished(before=before, limit=_BATCH)


async def clean_audit(farm: Farm) -> None:
    """Delete what is too old of the audit trail, a bounded part of it."""
    if farm.rules.keep_audit is not None:
        await farm.store.forget_audit(before=await farm.store.now() - farm.rules.keep_audit, limit=_BLOCKS)
