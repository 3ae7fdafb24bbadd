"""Who could take a job that waits, and why it waits."""

from collections.abc import Sequence

from msgspec import Struct

from millrace.domain import ids
from millrace.domain.needs import missing
from millrace.domain.records import Job, NodeState
from millrace.domain.states import State
from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import offer_of


class Candidate(Struct, frozen=True, kw_only=True):
    """A node by its name, how many of its slots are free, and what it lacks to run the job; empty where it could."""

    node: str
    state: NodeState
    free: int
    lacks: str = ""


async def candidates(farm: Farm, job: Job) -> Sequence[Candidate]:
    """Every node that is not lost, those first that could begin the job now."""
    task = await farm.store.task(ids.task_id(job.id, 1))
    if task is None:
        return ()
    needs = dict(await farm.store.classes(after=task.class_id - 1))[task.class_id]
    found = [
        Candidate(
            node=node.name,
            state=node.state,
            free=max(0, node.slots - node.holding) if node.state is NodeState.READY else 0,
            lacks=missing(offer_of(node), needs) or "",
        )
        for node in await farm.store.nodes()
        if node.state is not NodeState.LOST
    ]
    return sorted(found, key=lambda one: (bool(one.lacks), -one.free, one.node))


def why_it_waits(job: Job, known: Sequence[Candidate] | None, held_back: str) -> str:
    """Why a job that no worker has begun was not begun, in a sentence. Pure.

    Args:
        job: as it stands.
        known: what :func:`candidates` gave; None for who may not know.
        held_back: for which quota or which other jobs it waits; empty for none.
    """
    match job.state:
        case State.PAUSED:
            return "it is paused: `millrace jobs resume` lets it go on"
        case State.PENDING if job.due_at is not None and not held_back:
            return f"it begins at {job.due_at.isoformat(timespec='seconds')}"
        case State.RETRYING:
            why = f" after this failure: {job.failure.message}" if job.failure else ""
            return f"it is tried again{why}"
        case State.ASSIGNED:
            return "a worker has taken it, and reads its input"
    return held_back or _among(known)


def _among(known: Sequence[Candidate] | None) -> str:
    if known is None:
        return "it waits for a free slot on a node that can run it"
    able = [one for one in known if not one.lacks]
    if not known:
        return "no worker has registered yet"
    if not able:
        return f"none of {_nodes(len(known))} can run it: it takes {known[0].lacks}"
    free = sum(one.free for one in able)
    of = f"{len(able)} of {_nodes(len(known))} can run it"
    if not free:
        return f"{of}, and none of them has a free slot"
    return f"{of}, with {free} free slot{'s' * (free > 1)}: it is taken as soon as what was queued before it is"


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
