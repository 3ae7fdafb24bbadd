"""Take back what lost workers held."""

from millrace.domain.elsewhere import FIRST_LOSS_THAT_AVOIDS
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.records import Move, Node, Outcome, Task
from millrace.domain.retry import GiveUp, after_loss
from millrace.domain.states import State
from millrace.scheduler.elsewhere import to_avoid
from millrace.scheduler.farm import Farm

_BATCH = 500


async def expire_leases(farm: Farm) -> list[Node]:
    """Mark silent nodes as lost and requeue what nobody holds any more; returns the nodes lost now.

    Idempotent: any master may run it at any time.
    """
    lost = list(await farm.store.expire_leases(limit=_BATCH))
    await reclaim(farm)
    return lost


async def reclaim(farm: Farm) -> int:
    """Requeue the tasks that are held under an epoch that is over; returns how many."""
    total = 0
    while orphans := await farm.store.orphans(limit=_BATCH):
        moved = await farm.store.move([await _take_back(farm, task) for task in orphans])
        total += sum(moved)
        if not any(moved):
            break
    return total


async def _take_back(farm: Farm, task: Task) -> Move:
    losses = task.losses + 1
    decision = after_loss(losses)
    failure = Failure(failure_class=FailureClass.LOST, message="the worker that ran it fell silent or was killed")
    if isinstance(decision, GiveUp):
        target, reason = State.FAILED, decision.reason
        failure = Failure(failure_class=FailureClass.LOST, message=f"cannot run this job: {decision.reason}")
    elif task.state is State.PAUSED:
        target, reason = State.PAUSED, "its worker was lost while it was paused"
    else:
        target, reason = State.QUEUED, "its worker was lost"
    return Move(
        task_id=task.id,
        sources=frozenset({task.state}),
        target=target,
        reason=reason,
        actor="master",
        attempt=task.attempt,
        outcome=Outcome.LOST,
        failure=failure,
        release=True,
        loses=True,
        avoid=await to_avoid(farm, task) if losses >= FIRST_LOSS_THAT_AVOIDS else None,
    )
