"""A model of the tasks, folded from the history that a store keeps of them, and what no history may hold.

The simulation folds it commit by commit (`Watch`), the chaos run once at its end. The numbers are those of the invariants in
docs/reliability.md.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from millrace.domain.parts import ANEW
from millrace.domain.records import ACCEPTED
from millrace.domain.states import FINAL, HELD, TRANSITIONS, State, job_state

Read = Callable[..., Sequence[Any]]
"""Rows of a question to SQLite; `?` stands for each further argument."""

NEWS = """
SELECT t.seq, j.id, t.position, t.source, t.target, t.at, t.reason, t.attempt, t.actor, t.job
FROM transitions t JOIN jobs j ON j.number = t.job WHERE t.seq > ? ORDER BY t.seq
"""
NODES = "SELECT id, epoch, state, lease_until, boot_id, slots, name, seen_at FROM nodes ORDER BY id"
_ROW = """
SELECT t.state, t.attempt, t.spent, t.losses, t.node_id, t.node_epoch, j.state, t.max_retries, t.split
FROM tasks t JOIN jobs j ON j.number = t.job WHERE t.job = ? AND t.position = ?
"""
_OUTCOME = "SELECT outcome, failure_class FROM attempts WHERE job = ? AND position = ? AND attempt = ?"
LOST = "its worker was lost"
LOST_PAUSED = "its worker was lost while it was paused"
NEVER_ARRIVED = "the worker does not have the task"


class Moved(NamedTuple):
    """A row of the history, as NEWS gives it; `at` is in milliseconds of the store's time."""

    seq: int
    job_id: str
    position: int
    source: str | None
    target: str
    at: int
    reason: str
    attempt: int
    actor: str
    job: int

    @property
    def task_id(self) -> str:
        """As the product spells it."""
        return f"{self.job_id}.{self.position}"

    @property
    def anew(self) -> bool:
        """Whether a divided job went back to before its division."""
        return self.reason.startswith(ANEW)

    @property
    def claims(self) -> bool:
        """Whether a node was given the task."""
        return (self.source, self.target) == (State.QUEUED, State.ASSIGNED)


class Known(Struct):
    """A task as its history says that it is."""

    id: str
    job: int
    position: int
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
    how_last_ended: str = ""
    parts: tuple[str, ...] = ()  # that it waits for, or did
    hedges: int | None = None  # the position of the task that makes the same part


class KnownNode(Struct):
    """A node, as NODES gives it."""

    id: str
    epoch: int
    state: str
    lease_ms: int
    boot: str
    slots: int
    name: str
    seen_ms: int


def _states(races: list[list[Known]]) -> list[list[str]]:
    return [[one.state.value for one in race] for race in races]


class Ledger:
    """The model. `nodes` are the nodes as they stand at the moment of what is taken next."""

    def __init__(self, read: Read, fail: Callable[[str, str], None], now_s: Callable[[], float]) -> None:
        self.read = read
        self.fail = fail
        self.now_s = now_s
        self.nodes: dict[str, KnownNode] = {}
        self.tasks: dict[str, Known] = {}
        self.grants: dict[tuple[str, int], str] = {}  # (task, attempt) -> node
        self.epochs: dict[tuple[str, int], int | None] = {}  # (task, attempt) -> the node's epoch
        self.ended: dict[tuple[str, int], str] = {}  # (task, attempt) -> outcome
        self.over_s: dict[tuple[str, int], float] = {}  # when
        self.canceled: list[tuple[float, str, int, str]] = []  # when, task, attempt, node
        self.never_arrived_s: list[float] = []

    def epoch_of(self, node: str) -> int | None:
        """Under which epoch a node is given a task now; None where nobody can tell."""
        return self.nodes[node].epoch if node in self.nodes else None

    def take(self, moved: Moved) -> None:
        """The next row of the history."""
        if moved.source is None:
            self._accept(moved)
            return
        task = self.tasks.get(moved.task_id)
        if task is None:
            self.fail("I7", f"{moved.task_id} moves and was never accepted")
            return
        self._check_move(task, State(moved.source), State(moved.target), moved)
        if not moved.anew:
            self._check_join(task, State(moved.source), State(moved.target))
        self._apply(task, State(moved.target), moved)

    def compare(self, task: Known) -> None:
        """The rows say what the history says."""
        ((state, attempt, spent, losses, node, epoch, of_job, max_retries, split),) = self.read(
            _ROW, task.job, task.position
        )
        model = (task.state.value, task.attempt, task.node, task.epoch)
        if (state, attempt, node, epoch) != model:
            self.fail("I7", f"the row of {task.id} says {(state, attempt, node, epoch)}, its history {model}")
        if task.position == 1 and of_job != job_state(State(state), is_split=split is not None):
            self.fail("I7", f"the job of {task.id} is {of_job}, its lead {state}")
        self._compare_parts(task)
        if (spent, losses) != (task.spent, task.losses):
            self.fail(
                "I24", f"{task.id} has {spent} attempts spent and {losses} workers lost, by its history "
                f"{task.spent} and {task.losses}",
            )  # fmt: skip
        if spent > max_retries + 1 or losses > 5:
            self.fail("I19", f"{task.id} was tried {spent} times and lost {losses} workers, and goes on")

    def _check_join(self, task: Known, source: State, target: State) -> None:
        races = self._races(task)
        made = all(any(one.state is State.COMPLETED for one in race) for race in races)
        if races and (source, target) == (State.PENDING, State.QUEUED) and not made:
            self.fail("I36", f"{task.id} is to be joined, and its parts are {_states(races)}")
        if target is State.FAILED:
            for race in races:
                states = [one.state for one in race]
                if State.FAILED in states and any(one.node is not None for one in race):
                    self.fail(
                        "I36", f"{task.id} fails by one of two tasks that make a part, and the other runs: {states}"
                    )

    def _races(self, lead: Known) -> list[list[Known]]:
        """The tasks that make each part, one or two."""
        found: dict[int, list[Known]] = {}
        for task in (self.tasks[part] for part in lead.parts):
            found.setdefault(task.hedges or task.position, []).append(task)
        return list(found.values())

    def _compare_races(self, lead: Known, races: list[list[Known]]) -> None:
        for race in races:
            states = [one.state for one in race]
            held = [one.node for one in race if one.node is not None]
            if len(race) > 2:
                self.fail("I36", f"a part of {lead.id} has {len(race)} tasks")
            if len(set(held)) < len(held):
                self.fail("I36", f"one node makes a part of {lead.id} twice: {[one.id for one in race]}")
            if states.count(State.COMPLETED) > 1:
                self.fail("I36", f"a part of {lead.id} was made twice: {[one.id for one in race]}")
            if State.COMPLETED in states and any(state not in FINAL for state in states):
                self.fail("I36", f"a part of {lead.id} is made, and a second task for it goes on: {states}")
            if len(race) == 2 and any(self._waits(one) and (not one.hedges or one.attempt) for one in race):
                others = [one for one in race if not self._waits(one)]
                if not others or any(one.state not in FINAL for one in others):
                    self.fail(
                        "I36",
                        f"of two tasks that make a part of {lead.id} one waits, and the other has not ended: {states}",
                    )

    @staticmethod
    def _waits(task: Known) -> bool:
        return task.node is None and task.state not in FINAL

    def _compare_parts(self, task: Known) -> None:
        """After each commit a job that was divided and its parts agree."""
        lead = self.tasks[f"{task.id.partition('.')[0]}.1"]
        states = [self.tasks[part].state for part in lead.parts]
        if lead.state in FINAL and any(state not in FINAL for state in states):
            self.fail("I36", f"{lead.id} is {lead.state}, and of its parts some go on: {states}")
        if lead.state is State.PAUSED and any(state not in FINAL | {State.PAUSED} for state in states):
            self.fail("I36", f"{lead.id} is paused, and of its parts some are not: {states}")
        races = self._races(lead)
        self._compare_races(lead, races)
        if (
            races
            and lead.state is State.PENDING
            and all(any(one.state is State.COMPLETED for one in race) for race in races)
        ):
            self.fail("I36", f"{lead.id} waits for parts that are all made")
        lost = any(all(one.state in (State.FAILED, State.CANCELED) for one in race) for race in races)
        if lead.state in (State.PENDING, State.PAUSED) and lost:
            self.fail("I36", f"{lead.id} waits for a part that nobody makes: {_states(races)}")

    def _accept(self, moved: Moved) -> None:
        of_job = moved.position == 1
        if not of_job and f"{moved.job_id}.1" in self.tasks:
            self.tasks[f"{moved.job_id}.1"].parts += (moved.task_id,)
        if moved.task_id in self.tasks or (moved.reason == ACCEPTED) != of_job:
            self.fail("I8", f"{moved.task_id} was accepted twice")
        ((rank, class_id, hedges),) = self.read(
            "SELECT rank, class_id, hedges FROM tasks WHERE job = ? AND position = ?", moved.job, moved.position
        )
        self.tasks[moved.task_id] = Known(
            id=moved.task_id, job=moved.job, position=moved.position, rank=rank, class_id=class_id,
            state=State(moved.target), since_s=self.now_s(), queued_ms=moved.at, hedges=hedges,
        )  # fmt: skip

    def _check_move(self, task: Known, source: State, target: State, moved: Moved) -> None:
        reason, attempt, actor = moved.reason, moved.attempt, moved.actor
        if source is not task.state:
            self.fail("I7", f"{task.id} moves from {source}, but stood at {task.state}")
        if target not in TRANSITIONS[source]:
            self.fail("I6", f"{task.id} goes from {source} to {target}")
        if source in FINAL and (target is not State.QUEUED or actor in self.nodes or actor == "master"):
            self.fail("I5", f"{task.id} left {source} without a retry: {reason}")
        if actor in self.nodes and not moved.claims and (task.node, task.attempt) != (actor, attempt):
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

    def _apply(self, task: Known, target: State, moved: Moved) -> None:
        source, reason, attempt, actor = task.state, moved.reason, moved.attempt, moved.actor
        task.since_s = self.now_s()
        if source in FINAL or moved.anew:
            task.spent = task.losses = 0
            task.parts = ()
        if source is State.QUEUED and target is State.ASSIGNED:
            self._give(task, attempt, actor)
        elif attempt != task.attempt:
            self.fail("I3", f"{task.id} moves with attempt {attempt}, but is in attempt {task.attempt}")
        lost = actor == "master" and (reason.startswith((LOST, LOST_PAUSED)) or reason.endswith("while they ran it"))
        self._count(task, target, actor, lost=lost)
        if target is State.QUEUED:
            task.queued_ms = moved.at
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
        task.epoch = self.epoch_of(node)
        self.grants[task.id, attempt] = node
        self.epochs[task.id, attempt] = task.epoch

    def _count(self, task: Known, target: State, actor: str, *, lost: bool) -> None:
        if lost:
            task.losses += 1
        elif actor in self.nodes and target in (State.RETRYING, State.FAILED):
            outcome, failure_class = self._outcome(task, task.attempt)
            if outcome != "handed_back":
                task.spent += 1
                if target is State.RETRYING and failure_class == "input":
                    self.fail("I24", f"{task.id} is tried again although its input is at fault")
        if target is State.COMPLETED:
            task.completions += 1

    def _note_end(self, task: Known, attempt: int, reason: str) -> None:
        outcome, _ = self._outcome(task, attempt)
        if outcome is not None and (task.id, attempt) not in self.ended:
            self.ended[task.id, attempt] = outcome
            self.over_s[task.id, attempt] = task.since_s
            task.how_last_ended = "never arrived" if reason.startswith(NEVER_ARRIVED) else outcome

    def _outcome(self, task: Known, attempt: int) -> tuple[str | None, str | None]:
        rows = self.read(_OUTCOME, task.job, task.position, attempt)
        return (rows[0][0], rows[0][1]) if rows else (None, None)
