"""Take back what lost workers held."""

from collections.abc import Sequence

from millrace.domain.elsewhere import FIRST_LOSS_THAT_AVOIDS
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.records import Move, Node, Outcome, Task
from millrace.domain.retry import GiveUp, after_loss
from millrace.domain.states import State
from millrace.scheduler.clock_set import StoreClock
from millrace.scheduler.elsewhere import to_avoid
from millrace.scheduler.farm import Farm

_BATCH = 500


class Expiry:
    """Takes back what silent workers hold, again and again."""

    def __init__(self, farm: Farm) -> None:
        """Nobody is heard yet."""
        self._farm = farm
        self._clock = StoreClock(farm)

    def begin(self) -> None:
        """Heartbeats are heard from now on."""
        self._clock.begin()

    async def run(self) -> None:
        """Once."""
        await self._clock.follow()
        # While this master was away, heartbeats went nowhere: every node gets one whole term before it is called lost.
        if self._clock.even_for_s < self._farm.rules.lease_ttl_s:
            await reclaim(self._farm)
        else:
            await expire_leases(self._farm)


async def expire_leases(farm: Farm) -> list[Node]:
    """Mark silent nodes as lost and requeue what nobody holds any more; returns the nodes lost now.

    Idempotent: any master may run it at any time.
    """
    lost = list(await farm.store.expire_leases(limit=_BATCH))
    await reclaim(farm)
    return lost


async def reclaim(farm: Farm, node: Node | None = None) -> int:
    """Requeue the tasks that are held under an epoch that is over, of all nodes or of one; returns how many."""

    async def left() -> Sequence[Task]:
        if node is None:
            return await farm.store.orphans(limit=_BATCH)
        return await farm.store.left_by(node.id, epoch=node.epoch, limit=_BATCH)

    total = 0
    while orphans := await left():
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
