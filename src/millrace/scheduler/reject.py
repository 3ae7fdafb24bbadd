"""Reject what no machine of the farm could ever run, after a grace period in which one may still come."""

from datetime import timedelta

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.needs import missing
from millrace.domain.records import Move, NodeState
from millrace.domain.states import State
from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import offer_of

_BATCH = 500


async def reject_impossible(farm: Farm) -> int:
    """Reject queued tasks that no known node satisfies; returns how many.

    A farm without nodes rejects nothing: it has just been started. Idempotent: any master may run it at any time.
    """
    waiting = await farm.store.queued_classes()
    if not waiting:
        return 0
    latest = await farm.store.now() - timedelta(seconds=farm.rules.reject_after_s)
    long = [class_id for class_id, since in waiting.items() if since <= latest]
    # What thousands of nodes offer takes a while to read, and mostly nothing has waited for so long.
    nodes = [node for node in await farm.store.nodes() if node.state is not NodeState.LOST] if long else []
    if not nodes:
        return 0
    needs = dict(await farm.store.classes())
    offers = [offer_of(node) for node in nodes]
    total = 0
    for class_id in long:
        lacking = [missing(offer, needs[class_id]) for offer in offers]
        if None not in lacking:
            total += await _reject_class(farm, class_id, f"cannot run: no node of the farm has {lacking[0]}")
    return total


async def _reject_class(farm: Farm, class_id: int, sentence: str) -> int:
    tasks = await farm.store.queued(class_id, limit=_BATCH)
    moved = await farm.store.move(
        [
            Move(
                task_id=task.id,
                sources=frozenset({State.QUEUED}),
                target=State.REJECTED,
                reason=sentence,
                actor="master",
                attempt=task.attempt,
                failure=Failure(failure_class=FailureClass.CAPABILITY, message=sentence),
            )
            for task in tasks
        ]
    )
    return sum(moved)
