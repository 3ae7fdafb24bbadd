"""What no machine of the farm could ever run is rejected, after a grace period in which one may still come. A job that was divided by
workers of a build that has gone is planned anew instead: others can make it.
"""

from datetime import datetime, timedelta

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.needs import EARLY, Needs, missing
from millrace.domain.parts import planned_anew
from millrace.domain.records import Move, Node, NodeState, Task
from millrace.domain.states import State
from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import offer_of
from millrace.telemetry.logs import logger

log = logger("scheduler")

_BATCH = 500


async def reject_impossible(farm: Farm) -> int:
    """Reject queued tasks that no known node satisfies, or plan their job anew where they are those of a divided one; returns how many
    tasks were moved.

    A node that fell silent within the grace may still come back. A farm without nodes rejects nothing: it has just been started.
    Idempotent: any master may run it at any time.
    """
    waiting = await farm.store.queued_classes()
    if not waiting:
        return 0
    latest = await farm.store.now() - timedelta(seconds=farm.rules.reject_after_s)
    long = [class_id for class_id, since in waiting.items() if since <= latest]
    # What thousands of nodes offer takes a while to read, and mostly nothing has waited for so long.
    nodes = [node for node in await farm.store.nodes() if _may_come(node, latest)] if long else []
    if not nodes:
        return 0
    needs = dict(await farm.store.classes())
    offers = [offer_of(node) for node in nodes]
    total = 0
    for class_id in long:
        lacking = [missing(offer, needs[class_id]) for offer in offers]
        if None not in lacking:
            total += await _clear(farm, class_id, needs[class_id], f"no node of the farm has {lacking[0]}")
    return total


def _may_come(node: Node, latest: datetime) -> bool:
    return node.state is not NodeState.LOST or node.seen_at > latest


async def _clear(farm: Farm, class_id: int, needs: Needs, why: str) -> int:
    """Nobody can run the tasks of this class; `why` is a phrase."""
    tasks = await farm.store.queued(class_id, limit=_BATCH)
    # When all of its upload has arrived, others may run what nobody could begin before.
    may_come = needs.engine.endswith(EARLY)
    moves = [_rejected(task, f"cannot run: {why}") for task in tasks if task.split is None and not may_come]
    for job_id in dict.fromkeys(task.job_id for task in tasks if task.split is not None):
        anew = planned_anew((await farm.store.tasks(job_id))[0], why)
        if anew is not None:
            log.warning("job.planned_anew", job=job_id, reason=why)
            moves.append(anew)
    return sum(await farm.store.move(moves))


def _rejected(task: Task, sentence: str) -> Move:
    return Move(
        task_id=task.id,
        sources=frozenset({State.QUEUED}),
        target=State.REJECTED,
        reason=sentence,
        actor="master",
        attempt=task.attempt,
        failure=Failure(failure_class=FailureClass.CAPABILITY, message=sentence),
    )
