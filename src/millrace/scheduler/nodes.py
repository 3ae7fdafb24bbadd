"""Nodes register, beat, drain and leave."""

from collections.abc import Mapping, Sequence

from millrace.domain import ids
from millrace.domain.directives import Directive, directives, never_arrived
from millrace.domain.records import Move, NewNode, Node, NodeState, Outcome, Report, Task
from millrace.domain.states import State
from millrace.scheduler.errors import ConflictError, NotFoundError, StaleEpochError, SupersededError
from millrace.scheduler.expire import reclaim
from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import Offers


async def register(
    farm: Farm,
    offers: Offers,
    *,
    fingerprint: str,
    boot_id: str,
    name: str,
    slots: int,
    labels: Mapping[str, str],
    facts: Mapping[str, object],
    node_id: str = "",
    key_id: str = "",
) -> Node:
    """Add a node, or meet it again under its fingerprint; what it held under another boot id is taken back at once.

    `node_id` is what a new one is called; empty for any id. `key_id` is the key that it shows.

    Raises:
        SupersededError: another worker with this identity registered after this one, and lives.
    """
    node = await farm.store.register(
        NewNode(
            id=node_id or farm.new_id(ids.node_id, farm.clock.now()),
            fingerprint=fingerprint,
            boot_id=boot_id,
            name=name,
            slots=slots,
            labels=labels,
            facts=facts,
            ttl_s=farm.rules.lease_ttl_s,
            key_id=key_id,
        )
    )
    if node is None:
        raise SupersededError(
            f"cannot take the worker {name[:80]!r} back: another one has registered with the identity in its state folder since, "
            "and works; stop this one, and where the folder was copied give each worker one of its own"
        )
    offers.register(node)
    if node.holding:  # in an earlier life; the leader's next look may be a second away, and more while nobody leads
        await reclaim(farm, node)
    return node


async def heartbeat(
    farm: Farm, *, node_id: str, epoch: int, reports: Sequence[Report] | None
) -> tuple[Node, tuple[Directive, ...]]:
    """Extend the node's lease and say what it is to do. `reports` None says nothing about its tasks, so nothing follows.

    Raises:
        StaleEpochError: the node fell silent or registered anew.
    """
    beat = await farm.store.heartbeat(node_id=node_id, epoch=epoch, ttl_s=farm.rules.lease_ttl_s, reports=reports or ())
    if beat is None:
        raise StaleEpochError(f"cannot extend the lease of node {node_id}: its epoch {epoch} is over; register again")
    if reports is None:
        return beat.node, ()
    lost = never_arrived(beat.held, reports, beat.node.seen_at)
    if lost:
        await farm.store.move([_requeue(task) for task in lost])
    return beat.node, directives(beat.held, reports)


def _requeue(task: Task) -> Move:
    paused = task.state is State.PAUSED
    return Move(
        task_id=task.id,
        sources=frozenset({task.state}),
        target=State.PAUSED if paused else State.QUEUED,
        reason="the worker does not have the task: its claim was lost on the way, or broke there",
        actor="master",
        attempt=task.attempt,
        node_id=task.node_id,
        outcome=Outcome.HANDED_BACK,
        release=True,
    )


async def find_node(farm: Farm, ref: str) -> Node:
    """A node by id or name, or :class:`NotFoundError`."""
    node = await farm.store.node(ref)
    if node is None:
        raise NotFoundError(f"there is no node {ref[:64]!r}")
    return node


async def drain(farm: Farm, ref: str) -> Node:
    """Let the node finish what it has and give it no more. Idempotent.

    Raises:
        NotFoundError: there is no such node.
        ConflictError: the node is lost, or quarantined.
    """
    return await _change(farm, ref, NodeState.DRAINING, "drain")


async def resume(farm: Farm, ref: str) -> Node:
    """Give a draining node work again. Idempotent. Raises as :func:`drain`."""
    return await _change(farm, ref, NodeState.READY, "resume")


async def _change(farm: Farm, ref: str, target: NodeState, verb: str) -> Node:
    node = await find_node(farm, ref)
    changed = await farm.store.set_node_state(node.id, target, sources={NodeState.READY, NodeState.DRAINING})
    if not changed:
        hint = "; `millrace nodes release` ends that" if node.state is NodeState.QUARANTINED else ""
        raise ConflictError(f"cannot {verb} node {node.name}: it is {node.state}{hint}")
    return await find_node(farm, node.id)


async def remove(farm: Farm, ref: str) -> None:
    """Forget a node that holds no task.

    Raises:
        NotFoundError: there is no such node.
        ConflictError: it holds tasks.
    """
    node = await find_node(farm, ref)
    if not await farm.store.remove_node(node.id):
        raise ConflictError(f"cannot remove node {node.name}: it holds {node.holding} tasks; drain it first")


async def revoke(farm: Farm, ref: str) -> Node:
    """End a node's own key and its lease: what it holds goes back to the queue now, and it is lost. Idempotent.

    Raises:
        NotFoundError: there is no such node.
        ConflictError: it works with a key that may be any node.
    """
    node = await find_node(farm, ref)
    if node.state is not NodeState.LOST and await farm.store.key(node.id) is None:
        raise ConflictError(
            f"cannot revoke the key of node {node.name}: it has none of its own; revoke the one that it shows, "
            "`millrace keys list` names them"
        )
    await farm.store.expel(node.id)
    await reclaim(farm)
    return await find_node(farm, node.id)
