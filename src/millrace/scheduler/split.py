"""Divide a job over several workers: whether any others are free, the verb itself, and what its parts have handed on."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain import ids
from millrace.domain.ids import position_of
from millrace.domain.masters import TERM_S
from millrace.domain.needs import Needs, missing, satisfies, taken
from millrace.domain.parts import parts_of, rival_of
from millrace.domain.records import Document, Move, NewPart, Node, NodeState, Outcome, Split, Task
from millrace.domain.states import HELD, State
from millrace.scheduler.errors import ConflictError, NotFoundError
from millrace.scheduler.farm import Farm
from millrace.scheduler.nodes import find_node
from millrace.scheduler.offers import offer_of
from millrace.scheduler.report import check_holder, ended_so, find_task, stale
from millrace.store.store import Arrival

_PART = "it is a part already"


class Skill(Struct, frozen=True, kw_only=True):
    """What a worker must be able to do that is to share in a job: `engine` names the ability to make parts with one build of an
    engine, so that all parts come from the same; `encoders` are those that every part is made with.
    """

    engine: str
    encoders: tuple[str, ...]


class Free(Struct, frozen=True, kw_only=True):
    """How many tasks other nodes could begin at once; `reason` says why none, where that does not depend on the nodes."""

    slots: int = 0
    reason: str = ""


async def free_elsewhere(farm: Farm, task_id: str, *, node_id: str, attempt: int, skill: Skill) -> Free:
    """How many parts of this task others could make now.

    Raises:
        NotFoundError: there is no such task.
        StaleAttemptError: the attempt is no longer this node's.
    """
    task = await check_holder(farm, task_id, node_id=node_id, attempt=attempt)
    reason = _PART if _is_part(task) else await why_not(farm)
    if reason:
        return Free(reason=reason)
    needs = await _needs(farm, task, skill)
    ready = [node for node in await farm.store.nodes() if node.state is NodeState.READY and node.id != node_id]
    return Free(slots=sum(_could_begin(node, needs) for node in ready))


def _could_begin(node: Node, needs: Needs) -> int:
    """How many tasks with these needs the node could begin by its free slots; of hardware encoders it is not known what is free."""
    offer = offer_of(node)
    if not satisfies(offer, needs):
        return 0
    sessions = [
        offer.sessions[family] // count for family, count in taken(offer, needs).items() if family in offer.sessions
    ]
    return max(0, min([node.slots - node.holding, *sessions]))


async def split(
    farm: Farm,
    task_id: str,
    *,
    node_id: str,
    attempt: int,
    parts: Sequence[NewPart],
    plan: Document,
    skill: Skill,
    facts: Document | None = None,
    upload: tuple[str, int] = ("", 0),
) -> State:
    """End the attempt: its job is divided into parts, which are queued now, or when so much of the `upload` has arrived; the task waits
    for them, and then joins them. `facts` are what the worker found and planned.

    Raises:
        NotFoundError, StaleAttemptError: as :func:`free_elsewhere`.
        ConflictError: this task may not be divided.
    """
    task = await find_task(farm, task_id)
    paused = task.state is State.PAUSED
    move = Move(
        task_id=task_id,
        sources=frozenset({State.PAUSED}) if paused else HELD - {State.PAUSED},
        target=State.PAUSED if paused else State.PENDING,
        reason=f"divided into {len(parts)} parts, and waits for them",
        actor=node_id,
        attempt=attempt,
        node_id=node_id,
        outcome=Outcome.SPLIT,
        release=True,
        facts=facts or None,
    )
    if reason := await why_not(farm):
        raise ConflictError(f"cannot divide {task_id}: {reason}")
    needs = await _needs(farm, task, skill)
    if lacking := missing(offer_of(await find_node(farm, node_id)), needs):
        raise ConflictError(f"cannot divide {task_id}: the node that asks for it does not have {lacking} itself")
    class_id = await farm.store.class_of(needs)
    if await farm.store.split(Split(move=move, parts=tuple(parts), plan=plan, class_id=class_id, upload=upload)):
        return move.target
    task = await find_task(farm, task_id)
    if await ended_so(farm, task, move):
        return task.state
    if (task.attempt, task.node_id) == (attempt, node_id) and _is_part(task):
        raise ConflictError(f"cannot divide {task_id}: {_PART}")
    raise stale(move, task)


def _is_part(task: Task) -> bool:
    return not ids.is_lead(task.id) or task.split is not None


async def why_not(farm: Farm) -> str:
    """Why nothing may be divided here, whoever is free; empty where it may."""
    if not farm.rules.split:
        return "this farm divides no films over workers"
    if await farm.store.masters_behind(ttl_s=TERM_S):
        return "a master of an older version works beside this one"
    return ""


async def _needs(farm: Farm, task: Task, skill: Skill) -> Needs:
    needs = dict(await farm.store.classes(after=task.class_id - 1))[task.class_id]
    return replace(needs, engine=skill.engine, encoders=tuple((one,) for one in skill.encoders))


class Made(Struct, frozen=True, kw_only=True):
    """What a part has handed on: its position, which attempt made it, on which node (by name), its files, and where two tasks raced
    for the part, the other's id.
    """

    position: int
    attempt: int
    node_name: str
    pieces: Mapping[str, Arrival]
    beat: str = ""


async def made(farm: Farm, task_id: str, *, node_id: str, attempt: int) -> Sequence[Made]:
    """What the parts of this task have made, for the node that joins them. Raises as :func:`free_elsewhere`."""
    lead = await check_holder(farm, task_id, node_id=node_id, attempt=attempt)
    names = {(one.task_id, one.attempt): one.node_name for one in await farm.store.attempts(lead.job_id)}
    parts = parts_of(await farm.store.tasks(lead.job_id))
    return [
        Made(
            position=position_of(part.id),
            attempt=part.attempt,
            node_name=names.get((part.id, part.attempt), ""),
            pieces=await farm.store.arrivals(part.id, part.attempt),
            beat=rival.id if (rival := rival_of(part, parts)) else "",
        )
        for part in parts
        if part.state is State.COMPLETED
    ]


async def made_by(farm: Farm, task_id: str, position: int, *, node_id: str, attempt: int) -> Task:
    """The completed part at this position, for the node that joins it. Raises as :func:`free_elsewhere`."""
    lead = await check_holder(farm, task_id, node_id=node_id, attempt=attempt)
    for part in parts_of(await farm.store.tasks(lead.job_id)):
        if position_of(part.id) == position and part.state is State.COMPLETED:
            return part
    raise NotFoundError(f"there is no part {position} of {task_id[:64]!r} that is made")
