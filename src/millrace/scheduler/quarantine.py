"""Take a node out of work that fails what others finish, and take it in again: by hand, or after a proof."""

from collections.abc import Iterable

from millrace.domain.quarantine import blamed, disproved, judge, proof_after_s
from millrace.domain.records import Node, NodeState
from millrace.scheduler.errors import ConflictError, NotFoundError, StaleEpochError
from millrace.scheduler.farm import Farm
from millrace.scheduler.nodes import find_node
from millrace.scheduler.offers import offer_of
from millrace.store.store import StoreError
from millrace.telemetry.logs import logger

log = logger("nodes")


async def hold_to_account(farm: Farm, task_id: str, job_id: str, *, finisher: str) -> None:
    """A task was completed that had failed before: count it against the nodes that failed it, and judge them.

    It never fails: what the store does not take now is not counted, and the report that brought us here stands.
    """
    try:
        attempts = [one for one in await farm.store.attempts(job_id) if one.task_id == task_id]
        for node_id, failure in blamed(attempts, finisher=finisher).items():
            await farm.store.add_blame(node_id, job_id, failure)
            await _judge(farm, node_id)
    except StoreError as error:
        log.warning("nodes.not_judged", task=task_id, reason=str(error))


async def _judge(farm: Farm, node_id: str) -> None:
    nodes = {node.id: node for node in await farm.store.nodes()}
    node = nodes.get(node_id)
    if node is None or node.quarantine is not None:
        return
    states = [one.state for one in nodes.values()]
    quarantined = states.count(NodeState.QUARANTINED)
    working = states.count(NodeState.READY) + states.count(NodeState.DRAINING)
    verdict = judge(await farm.store.node_record(node_id), working=working, quarantined=quarantined)
    if verdict is not None:
        await farm.store.quarantine(
            node_id, reason=verdict.reason, proof_after_s=verdict.proof_after_s, times=verdict.times
        )
        log.warning("nodes.quarantined", node=node_id, name=node.name, reason=verdict.reason)


async def owes_proof(farm: Farm, node: Node) -> bool:
    """Whether a node that has just beaten is in quarantine and may prove itself now."""
    if node.state is not NodeState.QUARANTINED:
        return False
    whole = await farm.store.node(node.id)
    return whole is not None and whole.quarantine is not None and whole.quarantine.proof_due <= node.seen_at


async def take_proof(farm: Farm, node_id: str, *, epoch: int, proven: Iterable[tuple[str, str]]) -> Node:
    """A node in quarantine has tried its encoders anew: it is released if all that it offers still work.

    Args:
        farm: the farm.
        node_id: who says so.
        epoch: of the node.
        proven: each encoder with the reason why it does not work, or an empty text.

    Raises:
        NotFoundError: there is no such node.
        StaleEpochError: it fell silent or registered anew.
    """
    node = await farm.store.node(node_id)
    if node is None or node.id != node_id:
        raise NotFoundError(f"there is no node {node_id[:64]!r}")
    if node.epoch != epoch or node.state is NodeState.LOST:
        raise StaleEpochError(f"cannot take the proof of node {node_id}: its epoch {epoch} is over; register again")
    if node.quarantine is None:
        return node
    broken = disproved(sorted(offer_of(node).encoders), dict(proven))
    if broken:
        reason = "; ".join(f"{name} does not work any more: {why}" for name, why in broken.items())
        times = node.quarantine.times + 1
        await farm.store.quarantine(
            node.id, reason=f"its proof failed: {reason}", proof_after_s=proof_after_s(times), times=times
        )
        log.warning("nodes.proof_failed", node=node.id, name=node.name, reason=reason)
    else:
        await farm.store.release(node.id)
        log.info("nodes.released", node=node.id, name=node.name, by="its proof")
    return await find_node(farm, node.id)


async def release(farm: Farm, ref: str, *, actor: str) -> Node:
    """Give a node in quarantine work again.

    Raises:
        NotFoundError: there is no such node.
        ConflictError: it is not in quarantine.
    """
    node = await find_node(farm, ref)
    if not await farm.store.release(node.id):
        raise ConflictError(f"cannot release node {node.name}: it is {node.state}, not in quarantine")
    log.info("nodes.released", node=node.id, name=node.name, by=actor)
    return await find_node(farm, node.id)
