"""Follow what happens: transitions from a cursor on, as they are made."""

from collections.abc import AsyncIterator

from millrace.domain.records import Transition
from millrace.scheduler.farm import Farm

_BATCH = 500
_POLL_S = 2.0
"""A hint may be lost, so a follower looks by itself this often."""


async def follow(farm: Farm, *, after: str | None, job_id: str | None = None) -> AsyncIterator[Transition | None]:
    """Every transition after a cursor, without end; None whenever a look found nothing new, so that the reader can
    leave, and tell silence from death.

    Raises:
        ValueError: the cursor is none of the store's.
    """
    cursor = after
    while True:
        # The bell is taken before the look, so that a ring between look and wait is heard.
        ring = farm.changes.next_ring
        found = await farm.store.events(after=cursor, limit=_BATCH, job_id=job_id)
        for transition in found:
            cursor = transition.cursor
            yield transition
        if not found:
            await farm.clock.wait_event(ring, _POLL_S)
            yield None
