"""Delete what is past its retention: finished jobs, and API keys that have ended."""

from collections.abc import Sequence
from datetime import timedelta

from millrace.scheduler.farm import Farm

_BATCH = 200
ENDED_KEYS_KEPT = timedelta(days=30)
"""How long ended keys are listed where finished jobs are kept for ever."""


async def clean(farm: Farm) -> Sequence[str]:
    """Delete one batch of each; returns the ids of the jobs, so that their files can go too."""
    now, kept = await farm.store.now(), farm.rules.keep_finished
    await farm.store.delete_ended_keys(before=now - (kept or ENDED_KEYS_KEPT), limit=_BATCH)
    if kept is None:
        return ()
    return await farm.store.delete_finished(before=now - kept, limit=_BATCH)
