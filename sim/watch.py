"""Looks at the database after each commit, follows the tasks in a ledger, and tells at once what does not hold.

The numbers are those of the invariants in docs/reliability.md.
"""

import json
from typing import TYPE_CHECKING, Any

from millrace.domain.elsewhere import AVOID_S
from millrace.domain.states import State
from sim.idle import Idle
from sim.ledger import NEWS, NODES, Known, KnownNode, Ledger, Moved

if TYPE_CHECKING:
    from sim.world import World

_AVOID = "SELECT avoid, queued_at, attempt FROM tasks WHERE job = ? AND position = ?"
_HELD = "SELECT count(*) FROM tasks WHERE node_id = ? AND node_epoch = ?"
_PROGRESS = (
    "SELECT j.id || '.' || p.position, p.attempt, p.fraction FROM progress p JOIN jobs j ON j.number = p.job "
    "WHERE p.updated_at = ?"
)
_TENANTS = "SELECT name, max_concurrent, max_queued, running, queued FROM tenants WHERE max_queued IS NOT NULL"
_USED = (
    "SELECT count(t.node_id), count(*) FILTER (WHERE j.finished_at IS NULL AND t.position = 1) "
    "FROM jobs j JOIN tasks t ON t.job = j.number "
    "WHERE j.tenant = ?"
)


class Watch(Ledger):
    """The model of one simulation, and what only somebody sees who looks after each commit and at every answer."""

    def __init__(self, world: "World") -> None:
        super().__init__(world.database.read, world.fail, world.loop.time)
        self.world = world
        self.given: dict[str, tuple[str, dict[str, int]]] = {}  # claim's name -> node, tasks with attempts
        self.given_s: dict[tuple[str, int], float] = {}  # (task, attempt) -> when a claim was first answered with it
        self.epoch_since_s: dict[str, float] = {}
        self.seq = 0
        self.idle = Idle(world)

    # After each commit ------------------------------------------------------------------------------------------------

    def committed(self) -> None:
        """Read what is new."""
        database = self.world.database
        before = self.nodes
        news = [Moved(*row) for row in database.read(NEWS, self.seq)]
        self.nodes = {row[0]: KnownNode(*row) for row in database.read(NODES)}
        self._look_at_nodes(before)
        self._look_at_progress()
        for moved in news:
            self._take(moved, before)
        if news:
            self._look_at_quotas()
        for task_id in dict.fromkeys(moved.task_id for moved in news):
            self.compare(self.tasks[task_id])
        self.world.many.committed()

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

    def _take(self, moved: Moved, nodes_before: dict[str, KnownNode]) -> None:
        self.world.history.add(
            "moved", moved.seq, moved.task_id, moved.source or "-", moved.target, f"attempt {moved.attempt}",
            moved.actor[:12], moved.reason[:40].split("/")[0],
        )  # fmt: skip
        if moved.seq != self.seq + 1 and self.seq:
            self.fail("I7", f"transition {moved.seq} follows {self.seq}")
        self.seq = moved.seq
        self.take(moved)
        self.world.many.moved(moved)
        if moved.claims and moved.task_id in self.tasks:
            self._claimed(self.tasks[moved.task_id], nodes_before)

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
        """Whether a queued task had better go to another node than this one, which it has failed on, for a while; or which makes the
        part that it hedges.
        """
        ((avoid, queued_ms, attempt),) = self.world.database.read(_AVOID, task.job, int(task.id.rpartition(".")[2]))
        lately = queued_ms > self.world.database.time_ms() - (AVOID_S + beyond_s) * 1000
        return node in (avoid or "") and (lately or not attempt)

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
        # Where nothing of it is held any more, the name stands for a claim like any other; an answer that comes late tells of before.
        more = {
            one
            for one in given.keys() - first.keys()
            if (self.tasks[one].node, self.tasks[one].attempt) == (node, given[one])
        }
        if held and more:
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
