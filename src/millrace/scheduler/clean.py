"""Delete finished jobs past their retention."""

from collections.abc import Sequence

from millrace.scheduler.farm import Farm

_BATCH = 200


async def clean(farm: Farm) -> Sequence[str]:
    """Delete one batch of jobs that finished before the retention; returns their ids, so that their files can go too."""
    if farm.rules.keep_finished is None:
        return ()
    before = await farm.store.now() - farm.rules.keep_finished
    return await farm.store.delete_finished(before=before, limit=_BATCH)
