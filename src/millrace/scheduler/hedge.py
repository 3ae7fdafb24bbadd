"""Give slow parts of divided jobs to a second worker, where workers have nothing else to do."""

from collections.abc import Mapping

from millrace.domain.hedging import Straggler, seated, stragglers
from millrace.domain.needs import satisfies
from millrace.domain.parts import MASTER
from millrace.domain.records import Hedge, NodeState
from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import offer_of
from millrace.scheduler.split import why_not

_BATCH = 100


async def hedge_stragglers(farm: Farm) -> int:
    """Queue a second task for each part that is slow, as far as idle nodes could begin it; returns how many.

    Idempotent: a part gets one hedge at the most, whoever asks.
    """
    jobs = await farm.store.under_way_in_parts(limit=_BATCH) if farm.rules.hedge else ()
    if not jobs or await why_not(farm):
        return 0
    slow = [one for job_id in jobs for one in await _stragglers(farm, job_id)]
    by_class: dict[int, list[Straggler]] = {}
    for one in slow:
        by_class.setdefault(one.task.class_id, []).append(one)
    total = 0
    for class_id, alike in by_class.items():
        idle = await _idle(farm, class_id)
        total += sum([await farm.store.hedge(_hedge(one)) for one in seated(alike, idle)])
    return total


async def _stragglers(farm: Farm, job_id: str) -> list[Straggler]:
    store = farm.store
    return stragglers(
        await store.tasks(job_id), await store.standings(job_id), await store.attempts(job_id), await store.now()
    )


async def _idle(farm: Farm, class_id: int) -> Mapping[str, int]:
    """The free slots of nodes that can make parts of this class, and for which nothing waits."""
    queued = await farm.store.queued_classes()
    needs = dict(await farm.store.classes())
    waiting = [needs[one] for one in queued if one in needs]
    idle = {}
    for node in await farm.store.nodes():
        offer = offer_of(node)
        if (
            node.state is NodeState.READY
            and satisfies(offer, needs[class_id])
            and not any(satisfies(offer, other) for other in waiting)
        ):
            idle[node.id] = node.slots - node.holding
    return idle


def _hedge(one: Straggler) -> Hedge:
    node_id = one.task.node_id or ""
    return Hedge(task_id=one.task.id, attempt=one.task.attempt, node_id=node_id, reason=one.reason, actor=MASTER)
