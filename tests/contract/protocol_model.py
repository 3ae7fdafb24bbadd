"""The protocol of jobs, tasks, claims and moves as plain Python: what a store has to answer, without a database.

It says nothing of times, logs and lists; ranks are given by head starts, the order of acceptance and the turns of tenants, as
the tests that use it keep head starts far apart. What tenants use is not counted here, but looked up among the tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from millrace.domain.batches import NewBatch
from millrace.domain.parts import follow_up, may_hedge
from millrace.domain.records import Hedge, Move, NewJob, NewNode, Split, Task
from millrace.domain.states import FINAL, HELD, State, job_state
from millrace.domain.tenants import NONE, Quotas, Rules, Use, over_for_job, over_for_retry
from millrace.domain.turns import Last, Place, Turn, place

_SOMETIME = datetime(2026, 1, 1, tzinfo=UTC)


class ModelTask(Struct):
    """A task, and of its job what a claim needs."""

    id: str
    number: int
    class_id: int
    head_start_ms: int
    state: State
    tenant: str
    turn: int
    opens: bool
    position: int = 1
    split: int | None = None
    hedges: int | None = None
    own_class: int | None = None
    started: bool = False
    delayed: bool = False  # it waits for a moment, or did when it was paused
    attempt: int = 0
    spent: int = 0
    losses: int = 0
    node: str | None = None
    epoch: int | None = None
    request: str | None = None
    avoid: tuple[str, ...] = ()

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Lower is first."""
        return (-self.head_start_ms, self.turn, self.number, self.position)

    @property
    def job(self) -> str:
        """Its job's id."""
        return self.id.partition(".")[0]

    @property
    def record(self) -> Task:
        """As the rules of the domain take it."""
        return Task(
            id=self.id, job_id=self.job, state=self.state, attempt=self.attempt, spent=self.spent, losses=self.losses,
            max_retries=0, class_id=self.class_id, node_id=self.node, node_epoch=self.epoch, started=self.started,
            claimed_at=None, due_at=_SOMETIME if self.delayed else None, split=self.split, hedges=self.hedges,
        )  # fmt: skip

    @property
    def facts(self) -> tuple[object, ...]:
        """What a store must say of it."""
        return (self.id, self.state, self.attempt, self.spent, self.losses, self.node, self.epoch)


class ModelNode(Struct):
    """A node."""

    id: str
    boot: str
    slots: int
    boots: list[str]
    heard: bool = False  # since it registered
    epoch: int = 1
    state: str = "ready"
    quarantined: bool = False


class Protocol:
    """A whole farm's records."""

    def __init__(self) -> None:
        self.tasks: dict[str, ModelTask] = {}
        self.nodes: dict[str, ModelNode] = {}  # by fingerprint
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}  # (tenant, key) -> digest, job's id
        self.quotas: dict[str, Quotas] = {}
        # By number: what the job waits for, and whether any end of it will do.
        self.waits: dict[int, dict[int, bool]] = {}
        self.batches: dict[tuple[str, str], tuple[str, str]] = {}  # (tenant, key) -> digest, batch's id
        self.weights: dict[str, int] = {}
        # (class, head start, tenant) -> its last turn and its places there, where it opened none or has a weight
        self.last: dict[tuple[int, int, str], tuple[int, int]] = {}

    def check(self, verb: str, args: Sequence[Any], options: Mapping[str, Any], answer: Any) -> None:
        """Do it here too, and compare; verbs that are not modelled pass."""
        mine: Callable[..., Any] | None = getattr(self, "_" + verb, None)
        if mine is None:
            return
        expected = mine(*args, **options)
        assert _seen(verb, answer) == expected, f"{verb} {args} {options}"

    def _task_rows(self, node: str, epoch: int) -> list[ModelTask]:
        held = [one for one in self.tasks.values() if (one.node, one.epoch) == (node, epoch)]
        return sorted(held, key=lambda one: (one.number, one.position))

    def _node_by(self, node_id: str) -> ModelNode | None:
        return next((one for one in self.nodes.values() if one.id == node_id), None)

    # The verbs, each with what is compared of its answer --------------------------------------------------------------

    def _use(self, tenant: str) -> Use:
        own = [one for one in self.tasks.values() if one.tenant == tenant]
        return Use(
            concurrent=sum(one.node is not None for one in own),
            queued=sum(one.state not in FINAL for one in own if one.position == 1),
        )

    def _set_tenant(self, name: str, rules: Rules) -> tuple[Quotas, Use]:
        self.quotas[name], self.weights[name] = rules.quotas, rules.weight
        return (rules.quotas, self._use(name))

    def _remove_tenant(self, name: str) -> bool:
        self.weights.pop(name, None)
        return self.quotas.pop(name, None) is not None

    def _tenants(self) -> list[tuple[Quotas, Use]]:
        return [(self.quotas[name], self._use(name)) for name in sorted(self.quotas)]

    def _place(self, job: NewJob) -> Place:
        line = (job.class_id, job.head_start_ms)
        opened = [
            Turn(one.turn, one.tenant)
            for one in self.tasks.values()
            if one.opens and one.state is State.QUEUED and (one.class_id, one.head_start_ms) == line
        ]
        newest = max(opened, key=lambda turn: turn.rank, default=None)
        weight = self.weights.get(job.tenant, 1)
        rank, taken = self.last.get((*line, job.tenant), (-1, 0))
        following = min((turn.rank for turn in opened if turn.rank > rank), default=None)
        mine = newest is not None and newest.tenant == job.tenant
        over = all(turn.rank != rank for turn in opened) or (newest is not None and mine and newest.rank > rank)
        last = Last(rank, taken, over) if weight > 1 and taken else None
        found = place(job.tenant, len(self.tasks) + 1, newest, following, weight=weight, last=last)
        if newest is not None and not mine and found.opens:
            self._keep((*line, newest.tenant), newest.rank, 1)
        if not found.opens or weight > 1:
            self._keep((*line, job.tenant), found.rank, found.taken)
        return found

    def _keep(self, key: tuple[int, int, str], rank: int, taken: int) -> None:
        self.last[key] = max((rank, taken), self.last.get(key, (-1, 0)))

    def _decidable(self, *, limit: int) -> list[str]:
        by_number = {one.number: one.state for one in self.tasks.values()}
        found = []
        for task in self.tasks.values():
            states = [(by_number.get(number), any_end) for number, any_end in self.waits.get(task.number, {}).items()]
            ended = [(state, any_end) for state, any_end in states if state is None or state in FINAL]
            missed = any(state is None or (state is not State.COMPLETED and not any_end) for state, any_end in ended)
            if states and task.state is not State.PAUSED and (missed or len(ended) == len(states)):
                found.append(task.id)
        return found

    def _forget_waits(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            task = self.tasks.get(f"{job_id}.1")
            self.waits.pop(0 if task is None else task.number, None)

    def _add_batch(self, batch: NewBatch, jobs: Sequence[NewJob]) -> tuple[str, bool, bool, str]:
        if batch.key is not None and (batch.tenant, batch.key) in self.batches:
            digest, known = self.batches[batch.tenant, batch.key]
            return (known, digest == batch.body_digest, digest != batch.body_digest, "")
        quotas, use = self.quotas.get(batch.tenant, NONE), self._use(batch.tenant)
        if quotas.queued is not None and use.queued + len(jobs) > quotas.queued:
            return (batch.id, False, False, "queued")
        for job in jobs:
            self._add_jobs([job])
        if batch.key is not None:
            self.batches[batch.tenant, batch.key] = (batch.body_digest or "", batch.id)
        return (batch.id, False, False, "")

    def _add_jobs(self, jobs: Sequence[NewJob]) -> list[tuple[str, bool, bool, str]]:
        (job,) = jobs
        if job.idempotency_key is not None and (job.tenant, job.idempotency_key) in self.keys:
            digest, known = self.keys[job.tenant, job.idempotency_key]
            same = digest == (job.body_digest or "")
            return [(known, same, not same, "")]
        over = over_for_job(self.quotas.get(job.tenant, NONE), self._use(job.tenant), keeps=False)
        if over is not None:
            return [(job.id, False, False, over.quota.value)]
        if job.idempotency_key is not None:
            self.keys[job.tenant, job.idempotency_key] = (job.body_digest or "", job.id)
        turn = self._place(job)
        number = sum(one.position == 1 for one in self.tasks.values()) + 1
        self.tasks[f"{job.id}.1"] = ModelTask(
            f"{job.id}.1", number, job.class_id, job.head_start_ms, job.state, job.tenant, turn.rank, turn.opens
        )
        if job.after:
            self.waits[number] = dict.fromkeys(job.after, job.after_any_end)
        return [(job.id, False, False, "")]

    def _register(self, new: NewNode) -> tuple[str, int, str] | None:
        node = self.nodes.get(new.fingerprint)
        if node is None:
            node = self.nodes[new.fingerprint] = ModelNode(new.id, new.boot_id, new.slots, [new.boot_id])
        elif new.boot_id != node.boot and new.boot_id in node.boots and node.heard and node.state != "lost":
            return None
        else:
            node.epoch += node.boot != new.boot_id or node.state == "lost"
            if node.quarantined:
                node.state = "quarantined"
            elif not (node.state == "draining" and node.boot == new.boot_id):
                node.state = "ready"
            node.boot, node.slots, node.heard = new.boot_id, new.slots, False
            node.boots.append(new.boot_id)
        return (node.id, node.epoch, node.state)

    def _claim(
        self, *, node_id: str, epoch: int, request_id: str, classes: Sequence[int], limit: int, but: str = ""
    ) -> list[tuple[str, int]] | None:
        node = self._node_by(node_id)
        if node is None or node.epoch != epoch or node.state != "ready":
            return None
        mine = [
            one for one in self.tasks.values() if (one.node, one.request) == (node_id, request_id) and one.id != but
        ]
        if mine:
            return [(one.id, one.attempt) for one in sorted(mine, key=lambda one: one.rank)]
        free = node.slots - sum(one.id != but for one in self._task_rows(node_id, epoch))
        if free <= 0:
            return None
        # So little time passes here that what is avoided is avoided.
        queued = [
            one
            for one in self.tasks.values()
            if one.state is State.QUEUED and one.class_id in classes and node_id not in one.avoid
        ]
        given: list[ModelTask] = []
        for task in sorted(queued, key=lambda one: one.rank):
            most = self.quotas.get(task.tenant, NONE).concurrent
            if len(given) == min(limit, free) or (most is not None and self._use(task.tenant).concurrent >= most):
                continue
            given.append(task)
            task.state, task.attempt, task.started = State.ASSIGNED, task.attempt + 1, False
            task.node, task.epoch, task.request = node_id, epoch, request_id
        return [(one.id, one.attempt) for one in given]

    def _guarded(self, move: Move) -> ModelTask | None:
        task = self.tasks.get(move.task_id)
        if task is None or task.state not in move.sources:
            return None
        if move.attempt not in (None, task.attempt) or move.node_id not in (None, task.node):
            return None
        again = task.state in FINAL and move.target not in FINAL
        if again and over_for_retry(self.quotas.get(task.tenant, NONE), self._use(task.tenant)) is not None:
            return None
        runs = move.target in (State.ASSIGNED, State.PROCESSING)
        return None if runs and (move.release or task.node is None) else task

    def _make(self, task: ModelTask, move: Move) -> None:
        if move.release or move.target not in HELD:
            task.node = task.epoch = task.request = None
            task.started = False
        task.started = task.started or move.target is State.PROCESSING
        waits = move.target in (State.PENDING, State.RETRYING, State.PAUSED)
        task.delayed = waits and (move.delay_s is not None or task.delayed)
        task.state = move.target
        divided = task.split is not None
        if move.restart:
            task.split, task.class_id, task.own_class = None, task.own_class or task.class_id, None
        task.spent = 0 if move.restart else task.spent + move.spends
        task.losses = 0 if move.restart else task.losses + move.loses
        task.avoid = () if move.restart else task.avoid if move.avoid is None else move.avoid
        if divided:
            self._follow(task, move)

    def _of_job(self, job: str) -> list[ModelTask]:
        return sorted((one for one in self.tasks.values() if one.job == job), key=lambda one: one.position)

    def _follow(self, task: ModelTask, move: Move) -> None:
        """All that follows from a move has happened when it is answered."""
        for following in follow_up([one.record for one in self._of_job(task.job)], move):
            other = self._guarded(following)
            if other is not None:
                self._make(other, following)

    def _split(self, split: Split) -> bool:
        task = self._guarded(split.move)
        if task is None or task.position > 1 or task.split is not None:
            return False
        self._make(task, split.move)
        task.split, task.own_class, task.class_id = task.attempt, task.class_id, split.class_id
        first = len(self._of_job(task.job)) + 1
        for position in range(first, first + len(split.parts)):
            self.tasks[f"{task.job}.{position}"] = ModelTask(
                f"{task.job}.{position}", task.number, split.class_id, task.head_start_ms, State.QUEUED, task.tenant, task.turn,
                opens=False, position=position, split=task.split,
            )  # fmt: skip
        self._follow(task, split.move)
        return True

    def _hedge(self, asked: Hedge) -> bool:
        task = self.tasks.get(asked.task_id)
        tasks = [] if task is None else self._of_job(task.job)
        if task is None or not may_hedge([one.record for one in tasks], asked):
            return False
        position = len(tasks) + 1
        self.tasks[f"{task.job}.{position}"] = ModelTask(
            f"{task.job}.{position}", task.number, task.class_id, task.head_start_ms, State.QUEUED, task.tenant, task.turn,
            opens=False, position=position, split=task.split, hedges=task.position, avoid=(task.node or "",),
        )  # fmt: skip
        return True

    def _move(self, moves: Sequence[Move]) -> list[bool]:
        (move,) = moves
        task = self._guarded(move)
        if task is not None:
            self._make(task, move)
        return [task is not None]

    def _move_and_claim(
        self, move: Move, *, epoch: int, request_id: str, classes: Sequence[int], limit: int
    ) -> list[tuple[str, int]] | None:
        node = self._node_by(move.node_id or "")
        if node is None or node.epoch != epoch or node.state == "lost":
            return None
        task = self._guarded(move)
        if task is None:
            return None
        given = self._claim(
            node_id=node.id, epoch=epoch, request_id=request_id, classes=classes, limit=limit, but=task.id
        )
        self._make(task, move)
        return given or []

    def _heartbeat(self, *, node_id: str, epoch: int, **_: object) -> list[tuple[object, ...]] | None:
        node = self._node_by(node_id)
        if node is None or node.epoch != epoch or node.state == "lost":
            return None
        node.heard = True
        return [one.facts for one in self._task_rows(node_id, epoch)]

    def _set_node_state(self, node_id: str, target: str, *, sources: Sequence[str]) -> bool:
        node = self._node_by(node_id)
        if node is None or node.state not in sources:
            return False
        node.state = target
        return True

    def _quarantine(self, node_id: str, **_: object) -> bool:
        node = self._node_by(node_id)
        if node is None:
            return False
        node.quarantined = True
        node.state = node.state if node.state == "lost" else "quarantined"
        return True

    def _release(self, node_id: str) -> bool:
        node = self._node_by(node_id)
        if node is None or not node.quarantined:
            return False
        node.quarantined = False
        node.state = "ready" if node.state == "quarantined" else node.state
        return True

    def _remove_node(self, node_id: str) -> bool:
        node = self._node_by(node_id)
        if node is None or any(one.node == node_id for one in self.tasks.values()):
            return False
        self.nodes = {key: one for key, one in self.nodes.items() if one.id != node_id}
        return True

    def _orphans(self, *, limit: int) -> list[tuple[object, ...]]:
        live = {(node.id, node.epoch) for node in self.nodes.values()}
        return sorted(
            one.facts for one in self.tasks.values() if one.node is not None and (one.node, one.epoch) not in live
        )

    def _tasks(self, job_id: str) -> list[tuple[object, ...]]:
        return [one.facts for one in self._of_job(job_id)]

    def _count_jobs(self) -> dict[State, int]:
        leads = [one for one in self.tasks.values() if one.position == 1]
        states = [job_state(one.state, is_split=one.split is not None) for one in leads]
        return {state: states.count(state) for state in set(states)}


def _of_tenant(one: Any) -> tuple[Quotas, Use]:
    return (one.rules.quotas, Use(concurrent=one.use.concurrent, queued=one.use.queued))


def _facts(task: Any) -> tuple[object, ...]:
    return (task.id, task.state, task.attempt, task.spent, task.losses, task.node_id, task.node_epoch)


_SEEN: Mapping[str, Callable[[Any], Any]] = {
    "add_jobs": lambda found: [
        (one.id, one.repeated, one.conflict, "" if one.refused is None else one.refused.quota.value) for one in found
    ],
    "decidable": lambda found: [one.task.id for one in found],
    "add_batch": lambda one: (
        one.id,
        one.repeated,
        one.conflict,
        "" if one.refused is None else one.refused.quota.value,
    ),
    "set_tenant": _of_tenant,
    "tenants": lambda found: [_of_tenant(one) for one in found],
    "register": lambda node: None if node is None else (node.id, node.epoch, node.state),
    "claim": lambda found: None if found is None else [(one.task_id, one.attempt) for one in found],
    "move": list,
    "heartbeat": lambda beat: None if beat is None else [_facts(one) for one in beat.held],
    "orphans": lambda found: sorted(_facts(one) for one in found),
    "tasks": lambda found: [_facts(one) for one in found],
    "count_jobs": dict,
}


def _seen(verb: str, answer: Any) -> Any:
    look = _SEEN.get("claim" if verb == "move_and_claim" else verb)
    return answer if look is None else look(answer)
