"""Give a node work that it can run, or let it wait for some."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from millrace.domain.records import Claimed, NodeState
from millrace.scheduler.errors import StaleEpochError
from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import Offers
from millrace.scheduler.waiting import Visit


async def claim(
    farm: Farm,
    offers: Offers,
    *,
    node_id: str,
    epoch: int,
    request_id: str,
    limit: int,
    wait_s: float,
    visit: Visit | None = None,
) -> Sequence[Claimed]:
    """Up to `limit` tasks, at once or within `wait_s` seconds; none where the wait ended without work, and none at once for a node
    that may have no more now: it drains, is in quarantine, or its slots are taken.

    `visit` lets somebody else end the wait; what was given by then is given all the same.

    Raises:
        StaleEpochError: the node fell silent or registered anew.
    """
    visit = visit or Visit()
    deadline = farm.clock.monotonic() + wait_s
    while True:
        classes = await offers.classes_for(node_id, epoch)
        # The node waits before it looks, so that what arrives between the look and the wait is not missed.
        waiter = farm.waiting.enter(classes)
        try:
            tasks = await farm.store.claim(
                node_id=node_id, epoch=epoch, request_id=request_id, classes=sorted(classes), limit=limit,
                allowance=offers.allowance_for(node_id, epoch),
            )  # fmt: skip
            if tasks is None:
                if await _is_held_back(farm, node_id, epoch):
                    return ()
                raise StaleEpochError(f"cannot give work to node {node_id}: its epoch {epoch} is over; register again")
            if tasks:
                cascade(farm, classes, full=len(tasks) == limit)
                return tasks
            remaining = deadline - farm.clock.monotonic()
            if remaining <= 0 or visit.over:
                return ()
            visit.begin(waiter)
            if not await farm.clock.wait_event(waiter.woken, remaining) or visit.over:
                return ()
        finally:
            farm.waiting.leave(waiter)


def cascade(farm: Farm, classes: AbstractSet[int], *, full: bool) -> None:
    """Where a claim got all that it asked for, there may be more: let the next in line look."""
    for class_id in classes if full else ():
        if farm.waiting.wake(class_id):
            return


async def _is_held_back(farm: Farm, node_id: str, epoch: int) -> bool:
    node = await farm.store.node(node_id)
    return node is not None and node.epoch == epoch and node.state is not NodeState.LOST
