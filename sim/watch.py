"""Looks at the database after each commit, keeps a model of what must hold, and tells at once what does not.

The numbers are those of the invariants in docs/reliability.md.
"""

import json
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from millrace.domain.elsewhere import AVOID_S
from millrace.domain.records import ACCEPTED
from millrace.domain.states import FINAL, HELD, TRANSITIONS, State
from sim.idle import Idle

if TYPE_CHECKING:
    from sim.world import World

_NEWS = """
SELECT t.seq, j.id, t.position, t.source, t.target, t.at, t.reason, t.attempt, t.actor, t.job
FROM transitions t JOIN jobs j ON j.number = t.job WHERE t.seq > ? ORDER BY t.seq
"""
_ROW = """
SELECT t.state, t.attempt, t.spent, t.losses, t.node_id, t.node_epoch, j.state, t.max_retries
FROM tasks t JOIN jobs j ON j.number = t.job WHERE t.job = ? AND t.position = ?
"""
_AVOID = "SELECT avoid, queued_at FROM tasks WHERE job = ? AND position = ?"
_HELD = "SELECT count(*) FROM tasks WHERE node_id = ? AND node_epoch = ?"
_NODES = "SELECT id, epoch, state, lease_until, boot_id, slots, name, seen_at FROM nodes ORDER BY id"
_PROGRESS = (
    "SELECT j.id || '.' || p.position, p.attempt, p.fraction FROM progress p JOIN jobs j ON j.number = p.job "
    "WHERE p.updated_at = ?"
)
_TENANTS = "SELECT name, max_concurrent, max_queued, running, queued FROM tenants WHERE max_queued IS NOT NULL"
_USED = (
    "SELECT count(t.node_id), count(*) FILTER (WHERE j.finished_at IS NULL) FROM jobs j JOIN tasks t ON t.job = j.number "
    "WHERE j.tenant = ?"
)
_OUTCOME = "SELECT outcome, failure_class FROM attempts WHERE job = ? AND position = ? AND attempt = ?"
LOST = "its worker was lost"
LOST_PAUSED = "its worker was lost while it was paused"
NEVER_ARRIVED = "the worker does not have the task"


class Known(Struct):
    """A task as its history says that it is."""

    id: str
    job: int
    rank: int
    class_id: int
    state: State
    attempt: int = 0
    node: str | None = None
    epoch: int | None = None
    spent: int = 0
    losses: int = 0
    completions: int = 0
    since_s: float = 0.0
    queued_ms: int = 0
    canceled_by_person: bool = False
    how_last_ended: str = ""


class KnownNode(Struct):
    """A node as it stood after the last commit."""

    id: str
    epoch: int
    state: str
    lease_ms: int
    boot: str
    slots: int
    name: str
    seen_ms: int


class Watch:
    """The model of one simulation."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.tasks: dict[str, Known] = {}
        self.nodes: dict[str, KnownNode] = {}
        self.given: dict[str, tuple[str, dict[str, int]]] = {}  # claim's name -> node, tasks with attempts
        self.given_s: dict[tuple[str, int], float] = {}  # (task, attempt) -> when a claim was first answered with it
        self.epoch_since_s: dict[str, float] = {}
        self.seq = 0
        self.grants: dict[tuple[str, int], str] = {}  # (task, attempt) -> node
        self.epochs: dict[tuple[str, int], int | None] = {}  # (task, attempt) -> the node's epoch
        self.ended: dict[tuple[str, int], str] = {}  # (task, attempt) -> outcome
        self.over_s: dict[tuple[str, int], float] = {}  # when
        self.canceled: list[tuple[float, str, int, str]] = []  # when, task, attempt, node
        self.never_arrived_s: list[float] = []
        self.idle = Idle(world)

    def fail(self, invariant: str, text: str) -> None:
        """Something does not hold."""
        self.world.fail(invariant, text)

    # After each commit ------------------------------------------------------------------------------------------------

    def committed(self) -> None:
        """Read what is new."""
        database = self.world.database
        before = self.nodes
        news = database.read(_NEWS, self.seq)
        self.nodes = {row[0]: KnownNode(*row) for row in database.read(_NODES)}
        self._look_at_nodes(before)
        self._look_at_progress()
        for row in news:
            self._take(row, before)
        if news:
            self._look_at_quotas()
        for job, position, task_id in dict.fromkeys((row[9], row[2], f"{row[1]}.{row[2]}") for row in news):
            self._compare(job, position, self.tasks[task_id])

    def _look_at_quotas(self) -> None:
        """A tenant has no more than its quotas allow, and what is counted is what is there."""
        for name, concurrent, queued, running, waiting in self.world.database.read(_TENANTS):
            ((held, unfinished),) = self.world.database.read(_USED, name)
            if (running, waiting) != (held, unfinished):
                self.fail(
                    "I20",
                    f"of {name} {running} tasks and {waiting} jobs are counted, and {held} and {unfinished} are there",
                )
            if held > concurrent or unfinished > queued:
                self.fail(
                    "I20",
                    f"{name} has {unfinished} jobs and runs {held} of them; it may have {queued}, and {concurrent}",
                )

    def _look_at_nodes(self, before: dict[str, KnownNode]) -> None:
        now_ms, history = self.world.database.time_ms(), self.world.history
        ttl_ms = round(self.world.plan.rules.ttl_s * 1000)
        for node in self.nodes.values():
            was = before.get(node.id)
            if was is None or (was.epoch, was.state) != (node.epoch, node.state):
                history.add("node", node.id, node.name, node.state, "epoch", node.epoch)
                self.epoch_since_s[node.id] = self.world.loop.time()
            if node.lease_ms > now_ms + ttl_ms:
                self.fail(
                    "I10", f"the lease of {node.name} lasts {node.lease_ms - now_ms} ms, which is more than its ttl"
                )
            if was is not None:
                self._compare_node(was, node, now_ms)

    def _compare_node(self, was: KnownNode, node: KnownNode, now_ms: int) -> None:
        if node.epoch < was.epoch:
            self.fail("I3", f"the epoch of {node.name} fell from {was.epoch} to {node.epoch}")
        if node.boot != was.boot and node.epoch == was.epoch:
            self.fail("I3", f"{node.name} started anew and kept its epoch")
        if node.state == "lost" and was.state != "lost":
            self.world.history.add("lost", node.id, node.name, now_ms - was.lease_ms)
            if was.lease_ms >= now_ms:
                self.fail("I10", f"{node.name} was called lost {was.lease_ms - now_ms} ms before its lease ended")
            if node.epoch == was.epoch:
                self.fail("I3", f"{node.name} was called lost and kept its epoch")

    def _look_at_progress(self) -> None:
        """Only who holds a task tells how far it is."""
        now_ms = self.world.database.time_ms()
        beating = {node.id for node in self.nodes.values() if node.seen_ms == now_ms}
        if not beating:
            return
        for task_id, attempt, _ in self.world.database.read(_PROGRESS, now_ms):
            task = self.tasks.get(task_id)
            if task is not None and task.node is not None and (task.attempt, task.node in beating) != (attempt, True):
                self.fail(
                    "I3",
                    f"progress was kept for attempt {attempt} of {task_id}, which {task.node} holds in attempt {task.attempt}",
                )

    def _take(self, row: tuple[Any, ...], nodes_before: dict[str, KnownNode]) -> None:
        seq, job_id, position, source, target, at, reason, attempt, actor, job = row
        world = self.world
        task_id = f"{job_id}.{position}"
        world.history.add(
            "moved", seq, task_id, source or "-", target, f"attempt {attempt}", actor[:12], reason[:40].split("/")[0]
        )
        if seq != self.seq + 1 and self.seq:
            self.fail("I7", f"transition {seq} follows {self.seq}")
        self.seq = seq
        if source is None:
            self._accept(task_id, job, position, target, reason, at)
            return
        task = self.tasks.get(task_id)
        if task is None:
            self.fail("I7", f"{task_id} moves and was never accepted")
            return
        self._check_move(task, State(source), State(target), reason, attempt, actor)
        self._apply(task, State(target), reason, attempt, actor, at)
        if target == State.ASSIGNED and source == State.QUEUED:
            self._claimed(task, nodes_before)

    def _accept(self, task_id: str, job: int, position: int, target: str, reason: str, at: int) -> None:
        if task_id in self.tasks or reason != ACCEPTED:
            self.fail("I8", f"{task_id} was accepted twice")
        ((rank, class_id),) = self.world.database.read(
            "SELECT rank, class_id FROM tasks WHERE job = ? AND position = ?", job, position
        )
        self.tasks[task_id] = Known(
            id=task_id, job=job, rank=rank, class_id=class_id, state=State(target), since_s=self.world.loop.time(),
            queued_ms=at,
        )  # fmt: skip

    def _check_move(self, task: Known, source: State, target: State, reason: str, attempt: int, actor: str) -> None:
        if source is not task.state:
            self.fail("I7", f"{task.id} moves from {source}, but stood at {task.state}")
        if target not in TRANSITIONS[source]:
            self.fail("I6", f"{task.id} goes from {source} to {target}")
        if source in FINAL and (target is not State.QUEUED or actor in self.nodes or actor == "master"):
            self.fail("I5", f"{task.id} left {source} without a retry: {reason}")
        is_claim = source is State.QUEUED and target is State.ASSIGNED
        if actor in self.nodes and not is_claim and (task.node, task.attempt) != (actor, attempt):
            self.fail(
                "I3", f"{self.nodes[actor].name} moved {task.id} in attempt {attempt}; it is held by {task.node} in "
                f"attempt {task.attempt}",
            )  # fmt: skip
        if target is State.COMPLETED and task.completions:
            self.fail("I4", f"{task.id} was completed twice")
        if actor == "master" and task.node is not None and reason.startswith(LOST):
            node = self.nodes.get(task.node)
            if node is not None and node.epoch == task.epoch:
                self.fail("I10", f"{task.id} was taken from {node.name}, whose lease goes on")
        if source is State.PAUSED and target in (State.QUEUED, State.PENDING) and reason != "resumed on request":
            self.fail("I25", f"{task.id} was paused and went to {target} by itself: {reason}")
        person = actor == "person"
        if person and source in HELD and target is State.QUEUED and task.node is not None:
            self.fail("I3", f"{task.id} was queued by a person while {task.node} held it")

    def _apply(self, task: Known, target: State, reason: str, attempt: int, actor: str, at: int) -> None:
        source = task.state
        task.since_s = self.world.loop.time()
        if source in FINAL:
            task.spent = task.losses = 0
        if source is State.QUEUED and target is State.ASSIGNED:
            self._give(task, attempt, actor)
        elif attempt != task.attempt:
            self.fail("I3", f"{task.id} moves with attempt {attempt}, but is in attempt {task.attempt}")
        lost = actor == "master" and (reason.startswith((LOST, LOST_PAUSED)) or reason.endswith("while they ran it"))
        self._count(task, target, actor, lost=lost)
        if target is State.QUEUED:
            task.queued_ms = at
        if target is State.CANCELED and task.node is not None:
            self.canceled.append((task.since_s, task.id, attempt, task.node))
        if reason.startswith(NEVER_ARRIVED):
            self.never_arrived_s.append(task.since_s)
        self._note_end(task, attempt, reason)
        handed_back = target is State.PAUSED and source is State.PAUSED and actor != "person"
        if target not in HELD or lost or handed_back:
            task.node = task.epoch = None
        task.state = target

    def _give(self, task: Known, attempt: int, node: str) -> None:
        if attempt != task.attempt + 1:
            self.fail("I4", f"{task.id} went from attempt {task.attempt} to {attempt}")
        if task.node is not None:
            self.fail("I3", f"{task.id} was given to {node} while {task.node} held it")
        task.attempt, task.node = attempt, node
        task.epoch = self.nodes[node].epoch if node in self.nodes else None
        self.grants[task.id, attempt] = node
        self.epochs[task.id, attempt] = task.epoch

    def _count(self, task: Known, target: State, actor: str, *, lost: bool) -> None:
        if lost:
            task.losses += 1
        elif actor in self.nodes and target in (State.RETRYING, State.FAILED) and not self._handed_back(task):
            task.spent += 1
            row = self.world.database.read(_OUTCOME, task.job, int(task.id.rpartition(".")[2]), task.attempt)
            if target is State.RETRYING and row and row[0][1] == "input":
                self.fail("I24", f"{task.id} is tried again although its input is at fault")
        if target is State.COMPLETED:
            task.completions += 1

    def _note_end(self, task: Known, attempt: int, reason: str) -> None:
        row = self.world.database.read(_OUTCOME, task.job, int(task.id.rpartition(".")[2]), attempt)
        outcome = row[0][0] if row else None
        if outcome is not None and (task.id, attempt) not in self.ended:
            self.ended[task.id, attempt] = outcome
            self.over_s[task.id, attempt] = task.since_s
            task.how_last_ended = "never arrived" if reason.startswith(NEVER_ARRIVED) else outcome

    def _handed_back(self, task: Known) -> bool:
        row = self.world.database.read(_OUTCOME, task.job, int(task.id.rpartition(".")[2]), task.attempt)
        return bool(row) and row[0][0] == "handed_back"

    def _claimed(self, task: Known, nodes_before: dict[str, KnownNode]) -> None:
        node = nodes_before.get(task.node or "") or self.nodes.get(task.node or "")
        if node is None or node.state != "ready":
            self.fail("I25", f"{task.id} was given to a node that is {node and node.state}")
        else:
            self._fits(self.nodes.get(node.id, node))
        for other in self.tasks.values():
            earlier = (other.rank, other.job) < (task.rank, task.job)
            waits = other.state is State.QUEUED and other.class_id == task.class_id
            if earlier and waits and not self.avoids(other, task.node or ""):
                self.fail("I22", f"{task.id} was claimed before {other.id}, which comes first")
        self._engines_are_dead(task)

    def _fits(self, node: KnownNode) -> None:
        """A node holds no more than its slots, of what it was given in its present epoch."""
        ((held,),) = self.world.database.read(_HELD, node.id, node.epoch)
        if held > node.slots:
            self.fail("I20", f"{node.name} holds {held} tasks and has {node.slots} slots")

    def avoids(self, task: Known, node: str, *, beyond_s: float = 0.0) -> bool:
        """Whether a queued task had better go to another node than this one, which it has failed on, for a while."""
        ((avoid, queued_ms),) = self.world.database.read(_AVOID, task.job, int(task.id.rpartition(".")[2]))
        return node in (avoid or "") and queued_ms > self.world.database.time_ms() - (AVOID_S + beyond_s) * 1000

    def _engines_are_dead(self, task: Known) -> None:
        """When a lease is over, so is what ran under it; unless its machine stood still, and could not know."""
        world = self.world
        if task.how_last_ended in ("canceled", "never arrived"):
            return  # the worker hears of it with its next heartbeat
        for child in world.engines.values():
            if child.task != task.id or child.attempt >= task.attempt:
                continue
            owner = child.owner
            stood = owner.still or world.loop.time() - owner.woke_at_s < world.plan.rules.ttl_s
            if stood:
                continue
            self.fail(
                "I10", f"{task.id} was given away in attempt {task.attempt} while {owner.name} still ran attempt "
                f"{child.attempt} of it ({task.how_last_ended})",
            )  # fmt: skip

    def _compare(self, job: int, position: int, task: Known) -> None:
        """The rows say what the history says."""
        ((state, attempt, spent, losses, node, epoch, job_state, max_retries),) = self.world.database.read(
            _ROW, job, position
        )
        model = (task.state.value, task.attempt, task.node, task.epoch)
        if (state, attempt, node, epoch) != model:
            self.fail("I7", f"the row of {task.id} says {(state, attempt, node, epoch)}, its history {model}")
        if job_state != state:
            self.fail("I7", f"the job of {task.id} is {job_state}, its only task {state}")
        if (spent, losses) != (task.spent, task.losses):
            self.fail(
                "I24", f"{task.id} has {spent} attempts spent and {losses} workers lost, by its history "
                f"{task.spent} and {task.losses}",
            )  # fmt: skip
        if spent > max_retries + 1 or losses > 5:
            self.fail("I19", f"{task.id} was tried {spent} times and lost {losses} workers, and goes on")

    # What masters answer ----------------------------------------------------------------------------------------------

    def heartbeat_answered(self, node_id: str, epoch: int, status: int, arrived_s: float) -> None:
        """Only the present epoch, or one that ended while the heartbeat was answered, extends a lease."""
        node = self.nodes.get(node_id)
        if status == 200 and node is not None and epoch != node.epoch and self.epoch_since_s[node_id] < arrived_s:
            self.fail("I3", f"a heartbeat of {node.name} under epoch {epoch} was taken; it has epoch {node.epoch}")

    def claim_answered(self, node: str, name: str, tasks: list[dict[str, Any]], arrived_s: float) -> None:
        """The same name gives the same tasks, as far as the node still holds them."""
        given = {one["task"]: int(one["attempt"]) for one in tasks}
        for task_id, attempt in given.items():
            if self.grants.get((task_id, attempt)) != node:
                self.fail(
                    "I3", f"a claim of {node} was answered with {task_id} in attempt {attempt}, which it never got"
                )
        _, first = self.given.setdefault(name, (node, {}))
        held = {
            one: attempt for one, attempt in first.items()
            if (self.tasks[one].node, self.tasks[one].attempt) == (node, attempt)
        }  # fmt: skip
        known = self.nodes.get(node)
        # A node that drains is given nothing, not even again; its next heartbeat brings the task back.
        ready = known is not None and known.state == "ready"
        for task_id in sorted(held.keys() - given.keys()):
            if ready and self.tasks[task_id].since_s < arrived_s and self.given_s[task_id, held[task_id]] < arrived_s:
                self.fail("I3", f"the claim {name[:8]} was repeated, and {task_id} was not among what it gave")
        # Where nothing of it is held any more, the name stands for a claim like any other.
        if held and given.keys() - first.keys():
            self.fail("I3", f"the claim {name[:8]} was repeated and gave more than at first")
        for task_id, attempt in given.items():
            self.given_s.setdefault((task_id, attempt), self.world.loop.time())
        first.update(given)

    def start_answered(self, task_id: str, node: str, attempt: int, status: int) -> None:
        """A start is taken from whom the attempt was given to."""
        if status == 200 and self.grants.get((task_id, attempt)) != node:
            self.fail(
                "I3", f"the start of attempt {attempt} of {task_id} was taken from {node}, which it never was given to"
            )

    def upload_answered(self, task_id: str, node: str, attempt: int, status: int, arrived_s: float) -> None:
        """An output is taken from who holds the attempt, as of the request's arrival."""
        over_s = self.over_s.get((task_id, attempt))
        if status == 200 and (
            self.grants.get((task_id, attempt)) != node or (over_s is not None and over_s < arrived_s)
        ):
            self.fail(
                "I13", f"an output of attempt {attempt} of {task_id} was taken from {node} after the attempt was over"
            )

    def report_answered(self, task_id: str, node: str, attempt: int, outcome: str, status: int, problem: str) -> None:
        """A report is taken if it is how the attempt ended, and at no other time; a second one gets the same answer."""
        mine = self.grants.get((task_id, attempt)) == node
        ended = self.ended.get((task_id, attempt))
        if status == 200 and not (mine and ended == outcome):
            self.fail("I3", f"{outcome} of attempt {attempt} of {task_id} was taken from {node}; it ended as {ended}")
        if status == 409 and mine and ended == outcome and problem.endswith("stale-attempt"):
            self.fail("I3", f"{outcome} of attempt {attempt} of {task_id} was taken, and refused when it came again")

    def needs_gpu(self, task: Known) -> bool:
        """Whether only a node with that label may run it."""
        row = self.world.database.read("SELECT needs FROM requirement_classes WHERE id = ?", task.class_id)
        return bool(json.loads(row[0][0])["labels"])
