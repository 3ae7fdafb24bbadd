"""What the farm keeps: jobs, tasks, attempts, nodes, transitions. Frozen values; times are aware datetimes in UTC."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Raw, Struct, field

from millrace.domain.failures import Failure
from millrace.domain.order import Priority, Queue
from millrace.domain.sla import Classification
from millrace.domain.states import State

Document = Mapping[str, object]
"""Plain JSON data."""

ACCEPTED = "accepted"
"""The reason of every job's first transition."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far an attempt has come. `fraction` goes from 0 to 1, `speed` is media seconds for each wall second."""

    fraction: float = 0.0
    phase: str = ""  # fetch, probe, search, encode, verify, compare, deliver
    frame: int = 0
    fps: float = 0.0
    speed: float = 0.0
    eta_s: float | None = None
    updated_at: datetime | None = None


class Output(Struct, frozen=True, kw_only=True):
    """One published file. `location` is a path, an `s3://` URL, or a path below the master's API.

    `streams` is plain data about the file's streams; empty for files without any (playlists, WebVTT).
    """

    name: str
    location: str
    sha256: str
    size: int
    streams: tuple[Document, ...] = ()


class NewJob(Struct, frozen=True, kw_only=True):
    """A job to be accepted, with its first task.

    Attributes:
        spec: what the worker needs: input, profile document, output, engine, parameters. Immutable.
        head_start_ms: taken off the moment of acceptance to give the rank (see :mod:`millrace.domain.order`).
        due_at: when the job becomes runnable; None for at once.
        class_id: the requirement class of its task.
        keeps: its outputs will be kept by the master.
        after: numbers of the jobs that it waits for, in state `pending`; with `after_any_end` until they have ended, in any
            other case until they have completed (see :mod:`millrace.domain.after`).
        idempotency_key: with `body_digest`, makes a repeated submission the same job.
        awaits: what of its input has to arrive before it may begin, in state `pending`; until all of it is there only nodes of
            `class_id` may begin, and from then on those of `own_class_id`.
    """

    id: str
    tenant: str
    queue: Queue
    priority: Priority
    classification: Classification | None
    labels: Mapping[str, str]
    profile: str
    spec: Document
    max_retries: int
    timeout_s: float | None
    class_id: int
    head_start_ms: int
    state: State  # pending or queued
    due_at: datetime | None
    actor: str
    idempotency_key: str | None = None
    body_digest: str | None = None
    keeps: bool = False
    after: tuple[int, ...] = ()
    after_any_end: bool = False
    awaits: "InputWait | None" = None
    own_class_id: int = 0


class InputWait(Struct, frozen=True, kw_only=True):
    """What a task waits for: the first `bytes` of an upload that has `size` in all. `reason` says why for so many, as a clause about
    the film ("its index stands at the end"); empty where that needs no reason.
    """

    upload: str
    size: int
    bytes: int
    reason: str = ""


class Arriving(Struct, frozen=True, kw_only=True):
    """An upload that jobs have begun to wait for: how much of it has arrived as far as is known, whether any task waits for more, and,
    asked for one job, why that waits for all of it.
    """

    upload: str
    size: int
    arrived: int
    is_awaited: bool = True
    reason: str = ""

    @property
    def sentence(self) -> str:
        """How a job stands that waits for it."""
        text = f"{100 * self.arrived // self.size} % of its upload has arrived"
        return f"{text}; {self.reason}" if self.reason else text


class Job(Struct, frozen=True, kw_only=True):
    """A job as it stands."""

    id: str
    number: int
    tenant: str
    queue: Queue
    priority: Priority
    classification: Classification | None
    labels: Mapping[str, str]
    profile: str
    spec: Document
    max_retries: int
    timeout_s: float | None
    state: State
    failure: Failure | None
    created_at: datetime
    due_at: datetime | None
    queued_at: datetime | None  # when it last became runnable
    started_at: datetime | None  # when a worker first claimed it
    finished_at: datetime | None
    progress: Progress
    attempts: int = 0  # claims of its lead task until now
    is_split: bool = False  # into parts, which several workers make


class Task(Struct, frozen=True, kw_only=True):
    """What one worker does under one lease.

    `attempt` grows by one at every claim and never falls: it is the fencing token. `spent` counts attempts that failed
    on their own, `losses` those whose worker was lost. `split` is set where the job was split: the attempt of its lead task
    (the first) that did so, in the lead and in each part that belongs to it. `hedges` is set in a hedge: the position of the task
    that makes the same part (see :mod:`millrace.domain.parts`).
    """

    id: str
    job_id: str
    state: State
    attempt: int
    spent: int
    losses: int
    max_retries: int
    class_id: int
    node_id: str | None
    node_epoch: int | None
    started: bool  # the engine ran in this attempt, so a resumed task goes back to `processing`
    claimed_at: datetime | None
    due_at: datetime | None
    split: int | None = None
    hedges: int | None = None


class Kind(StrEnum):
    """What a task makes of its job."""

    WHOLE = "whole"  # all of it, or its division into parts
    CHUNK = "chunk"  # some frames of the pictures
    SIDES = "sides"  # sound and text
    JOIN = "join"  # the output, of what the parts have made


class NewPart(Struct, frozen=True, kw_only=True):
    """A part that a task is split into. `number` is that of the chunk, `frames` how many it has (0 without pictures), `awaits` how many
    bytes of the input have to arrive before it may be claimed (0: none has to).
    """

    kind: Kind
    number: int = 0
    frames: int = 0
    awaits: int = 0


class Part(Struct, frozen=True, kw_only=True):
    """What a task of a split job is to make. `plan` is the worker's that split the job, as JSON text; no master looks inside."""

    kind: Kind
    number: int
    plan: Raw


class Standing(Struct, frozen=True, kw_only=True):
    """A task as people see it: what it makes (of chunks, `number` says which), where it stands, on which node (by name), and how far
    it has come.
    """

    task_id: str
    kind: Kind
    number: int
    state: State
    attempt: int
    node_name: str | None
    frames: int
    split: int | None
    progress: Progress
    hedges: int | None = None


class Claimed(Struct, frozen=True, kw_only=True):
    """A task that a node has just been given, with all it needs to run it.

    `spec` is the job's as JSON text, the way the store keeps it: a master passes it on and never looks inside.
    """

    task_id: str
    job_id: str
    number: int
    attempt: int
    profile: str
    spec: Raw
    timeout_s: float | None
    part: Part | None = None


class Outcome(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    HANDED_BACK = "handed_back"
    SPLIT = "split"  # into parts, which it waits for
    LOST = "lost"


class Attempt(Struct, frozen=True, kw_only=True):
    """One claim of one task, from the claim to its outcome (None while it runs)."""

    task_id: str
    attempt: int
    node_id: str
    node_name: str
    claimed_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    outcome: Outcome | None
    failure: Failure | None


class Transition(Struct, frozen=True, kw_only=True):
    """One change of a task's state, stored in the same transaction as the change."""

    cursor: str
    job_id: str
    number: int
    task_id: str
    source: State | None  # None for acceptance
    target: State
    at: datetime
    reason: str
    attempt: int
    actor: str


class Move(Struct, frozen=True, kw_only=True):
    """A guarded change of a task's state, and of its job's with it. The store's one door for states.

    It happens only if the task is in one of `sources`, its attempt is `attempt` (where given) and its node is
    `node_id` (where given); otherwise nothing changes.

    Attributes:
        delay_s: for `retrying` and `pending`: becomes due that many seconds from the database's now.
        outcome: ends the current attempt with this outcome; None leaves it open.
        release: the node no longer holds the task.
        spends, loses: counts the attempt against `spent` or `losses`.
        outputs: what was published; replaces earlier outputs of the job.
        kept_bytes: how much of the outputs the master keeps.
        facts: plain data to keep with the job (probe, plan, proof).
        restart: for the `retry` verb, and for what is planned anew: sets `spent` and `losses` to zero and forgets the failure, what is avoided, and that the
            job was split.
        avoid: nodes that the task had better not go to next (see :mod:`millrace.domain.elsewhere`); None leaves them.
    """

    task_id: str
    sources: frozenset[State]
    target: State
    reason: str
    actor: str
    attempt: int | None = None
    node_id: str | None = None
    delay_s: float | None = None
    outcome: Outcome | None = None
    failure: Failure | None = None
    release: bool = False
    spends: bool = False
    loses: bool = False
    outputs: tuple[Output, ...] = ()
    kept_bytes: int = 0
    facts: Document | None = None
    restart: bool = False
    avoid: tuple[str, ...] | None = None


class Split(Struct, frozen=True, kw_only=True):
    """The end of an attempt that divides its job.

    Attributes:
        move: that of the lead task, which then waits for the parts.
        parts: in the order in which they are to be claimed; they are queued, with the rank of the lead, or wait for their input.
        upload: the input that parts wait for, and its bytes.
        plan: what those who make and join the parts go by; plain data.
        class_id: the requirement class of the parts and of the lead from now on.
    """

    move: Move
    parts: tuple[NewPart, ...]
    plan: Document
    class_id: int
    upload: tuple[str, int] = ("", 0)

    def wait_of(self, part: NewPart) -> InputWait:
        """What a part that waits for its input waits for."""
        return InputWait(upload=self.upload[0], size=self.upload[1], bytes=part.awaits)


class Hedge(Struct, frozen=True, kw_only=True):
    """A second task for a part that is slow: it is queued if the task still runs in this attempt on this node, where it never goes."""

    task_id: str
    attempt: int
    node_id: str
    reason: str
    actor: str


class NodeState(StrEnum):
    """Whether a node takes work."""

    READY = "ready"
    DRAINING = "draining"  # finishes what it has and takes no more
    QUARANTINED = "quarantined"  # fails what others finish: gets no work until it is released (see domain.quarantine)
    LOST = "lost"  # fell silent; its work was taken back


class NewNode(Struct, frozen=True, kw_only=True):
    """A worker that registers. The fingerprint stays over restarts, the boot id does not.

    `key_id` is the key that it showed, empty for the one that masters are started with.
    """

    id: str  # used only when the fingerprint is new
    fingerprint: str
    boot_id: str
    name: str
    slots: int
    labels: Mapping[str, str]
    facts: Document  # engines, encoders with reasons, cpu, memory, version
    ttl_s: float
    key_id: str = ""


class Quarantine(Struct, frozen=True, kw_only=True):
    """Why a node is given no work, since when, and from when on a proof releases it. `times`: within a day, with this one."""

    reason: str
    since: datetime
    proof_due: datetime
    times: int


class Node(Struct, frozen=True, kw_only=True):
    """A machine of the farm. Its lease is judged by the database's clock."""

    id: str
    fingerprint: str
    boot_id: str
    name: str
    state: NodeState
    epoch: int
    slots: int
    labels: Mapping[str, str]
    facts: Document
    registered_at: datetime
    seen_at: datetime
    lease_until: datetime
    holding: int = 0  # tasks under lease
    quarantine: Quarantine | None = None  # not read with a heartbeat


class Report(Struct, frozen=True, kw_only=True):
    """What a node says of one task in its heartbeat."""

    task_id: str
    attempt: int
    paused: bool
    progress: Progress


class Beat(Struct, frozen=True, kw_only=True):
    """What the store answers to a heartbeat: the node, and every task that it holds by the store's word."""

    node: Node
    held: tuple[Task, ...] = field(default=())
