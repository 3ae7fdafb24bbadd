"""Queue what has become due: jobs that start later, and retries whose back-off is over."""

from millrace.domain.records import Move
from millrace.domain.states import State
from millrace.scheduler.farm import Farm

_BATCH = 500
_REASONS = {State.PENDING: "its time has come", State.RETRYING: "the back-off is over"}


async def promote_due(farm: Farm) -> int:
    """Queue every due task; returns how many. Idempotent: any master may run it at any time."""
    total = 0
    while tasks := await farm.store.due(limit=_BATCH):
        moved = await farm.store.move(
            [
                Move(
                    task_id=task.id,
                    sources=frozenset({task.state}),
                    target=State.QUEUED,
                    reason=_REASONS[task.state],
                    actor="master",
                    attempt=task.attempt,
                )
                for task in tasks
            ]
        )
        total += sum(moved)
        if not any(moved):
            break
    return total
