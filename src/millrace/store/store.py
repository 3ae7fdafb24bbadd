"""What a store keeps and how it may be changed. SQLite and PostgreSQL implement it and pass one conformance suite.

Every method is one transaction, durable when it returns. A store decides nothing: the scheduler reads, decides with the
pure rules of `domain`, and writes back with guards (:class:`~millrace.domain.records.Move`), so that a decision made on
what has changed meanwhile changes nothing. Time is the store's own: the database's clock, or the injected one.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from millrace.domain.chain import Block, Head
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.invitations import Enrolment, NewInvitation
from millrace.domain.keys import ApiKey, NewKey
from millrace.domain.masters import Attendance, Presence
from millrace.domain.needs import Needs
from millrace.domain.order import Priority, Queue
from millrace.domain.quarantine import NodeRecord
from millrace.domain.records import (
    Attempt,
    Beat,
    Claimed,
    Document,
    Hedge,
    Job,
    Move,
    NewJob,
    NewNode,
    Node,
    NodeState,
    Output,
    Report,
    Split,
    Standing,
    Task,
    Transition,
)
from millrace.domain.sessions import Allowance
from millrace.domain.states import State
from millrace.domain.tenants import Over
from millrace.store.arriving import ArrivingInputs
from millrace.store.many import ManyJobs
from millrace.store.outbox import Outbox
from millrace.store.tenants import Tenants


class StoreError(Exception):
    """The base of what a store raises."""


SILENT = "it does not answer"


class StoreUnavailableError(StoreError):
    """The database does not answer, or lost the connection; nothing is known to be changed. Try again later.

    `why` says of the database in a few words what is wrong with it, without a name or an address.
    """

    def __init__(self, text: str, *, why: str = SILENT) -> None:
        super().__init__(text)
        self.why = why


class StoreBrokenError(StoreUnavailableError):
    """The disk under an embedded database failed, or its file is damaged: this process must end, and never write to it again."""


class StoreFullError(StoreError):
    """There is no space left for the database; nothing was changed. Free space and try again."""


class StoreBusyError(StoreError):
    """Another process holds this embedded database; the message names its pid."""


class SchemaTooNewError(StoreError):
    """The database was written by a newer Millrace; upgrade this one."""


class ConnectionsUsed(Struct, frozen=True, kw_only=True):
    """A master's connections to a database server, without the one that listens: in use, idle, and how many there may be; how
    many requests wait for one, and how long all together have waited.
    """

    busy: int
    idle: int
    most: int
    waiting: int
    waited_s: float


HEARTBEATS_GATHER_S = 0.02
"""Seconds that a heartbeat may wait for others, so that a farm of many nodes does not commit for each beat alone."""


class Added(Struct, frozen=True, kw_only=True):
    """What became of one job handed to :meth:`Store.add_jobs`.

    `repeated` is True where the idempotency key was known with the same body: `id` and `number` are then the first
    job's. `conflict` is True where the key was known with another body: nothing was stored. `refused` is the quota of its
    tenant that forbids the job: nothing was stored. `cursor` is that of the first transition of a job that is new, and None
    for any other.
    """

    id: str
    number: int
    state: State
    created_at: datetime
    repeated: bool = False
    conflict: bool = False
    cursor: str | None = None
    refused: Over | None = None


class Arrival(Struct, frozen=True, kw_only=True):
    """An output as a master counted and hashed it: SHA-256 in hexadecimal, and bytes."""

    sha256: str
    size: int


class JobFilter(Struct, frozen=True, kw_only=True):
    """Which jobs to list; None or empty does not restrict. All conditions hold together."""

    states: frozenset[State] = frozenset()
    queue: Queue | None = None
    priority: Priority | None = None
    tenant: str | None = None
    profile: str | None = None
    labels: Mapping[str, str] | None = None
    failures: frozenset[FailureClass] = (
        frozenset()
    )  # the class of what a job that failed, or waits to be retried, ended with
    alone: bool = False  # those that were neither one of a batch nor a schedule's


class JobPage(Struct, frozen=True, kw_only=True):
    """Jobs, newest first, and the cursor of the next page (None at the end)."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


class Hint(StrEnum):
    """Why a listener is woken. A hint may be lost or come twice; the truth is in the store."""

    QUEUED = "queued"  # a task of a class became runnable
    CHANGED = "changed"  # transitions were added


Listener = Callable[[Hint, int | None], None]
"""Called on the event loop with the hint and, for `QUEUED`, the requirement class."""


class Store(Outbox, Tenants, ManyJobs, ArrivingInputs, Protocol):
    """The farm's records."""

    async def start(self) -> None:
        """Open the database and bring its schema up to date.

        Raises:
            StoreBusyError: an embedded database is held by another process.
            SchemaTooNewError: a newer Millrace wrote it.
            StoreUnavailableError: it does not answer.
        """

    async def stop(self) -> None:
        """Finish what is in flight and close. May be called twice, or without a start."""

    async def ping(self) -> None:
        """Read one row, or raise :class:`StoreUnavailableError`."""

    async def try_write(self) -> None:
        """Write as little as possible, with no effect, or raise :class:`StoreFullError` or another."""

    async def now(self) -> datetime:
        """The store's time in UTC."""

    @property
    def connections(self) -> ConnectionsUsed | None:
        """What is used of the database server's; None for an embedded database."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on every hint, from this process or (PostgreSQL) another; returns the way to stop it."""

    # Jobs ---------------------------------------------------------------------------------------------------------

    async def class_of(self, needs: Needs) -> int:
        """The number of the requirement class for these needs, made where it is new."""

    async def classes(self, after: int = 0) -> Sequence[tuple[int, Needs]]:
        """Every requirement class with a number above `after`, in order."""

    async def add_jobs(self, jobs: Sequence[NewJob]) -> Sequence[Added]:
        """Accept jobs, each with its first task and its first transition; one answer for each, in order."""

    async def job(self, ref: str | int) -> Job | None:
        """A job by id or by number, with its newest progress."""

    async def jobs(self, only: JobFilter, *, cursor: str | None, limit: int) -> JobPage:
        """Jobs, newest first.

        Raises:
            ValueError: the cursor is none of this store's.
        """

    async def count_jobs(self) -> Mapping[State, int]:
        """How many jobs stand in each state; states without jobs are left out."""

    async def tasks(self, job_id: str) -> Sequence[Task]:
        """The tasks of a job, in order."""

    async def task(self, task_id: str) -> Task | None:
        """One task."""

    async def standings(self, job_id: str) -> Sequence[Standing]:
        """The tasks of a job, in order, as people see them."""

    async def attempts(self, job_id: str) -> Sequence[Attempt]:
        """Every attempt of the job's tasks, oldest first."""

    async def outputs(self, job_id: str) -> Sequence[Output]:
        """What the job has published, by name."""

    async def facts(self, job_id: str) -> Document | None:
        """What the last move with facts kept with the job."""

    async def transitions(self, job_id: str) -> Sequence[Transition]:
        """The job's history, oldest first."""

    async def events(
        self, *, after: str | None, limit: int, job_id: str | None = None, tenant: str | None = None
    ) -> Sequence[Transition]:
        """Transitions after a cursor (None: from the beginning), of all jobs, of one, or of a tenant's, in an order that
        never gets an earlier entry later: who has read up to a cursor has missed nothing before it.

        Raises:
            ValueError: the cursor is none of this store's.
        """

    async def last_cursor(self) -> str | None:
        """The cursor of the newest transition; None where there is none."""

    async def delete_finished(self, *, before: datetime, limit: int) -> Sequence[str]:
        """Delete final jobs that finished before a moment, with all that belongs to them; returns their ids."""

    # Work ---------------------------------------------------------------------------------------------------------

    async def claim(
        self,
        *,
        node_id: str,
        epoch: int,
        request_id: str,
        classes: Sequence[int],
        limit: int,
        allowance: Allowance | None = None,
    ) -> Sequence[Claimed] | None:
        """Give the node up to `limit` queued tasks of these classes, lowest rank first, each with its attempt grown
        by one, state `assigned`. A repeated `request_id` returns the tasks of the first time that the node still holds.

        Never more than the node has slots for, beside what it holds under this epoch; and with an `allowance` one task at the most, for
        which the node has sessions free.

        None where the node's epoch is not this one (it was lost, or registered anew), it is not `ready`, or its slots are taken.
        """

    async def move_and_claim(
        self,
        move: Move,
        *,
        epoch: int,
        request_id: str,
        classes: Sequence[int],
        limit: int,
        allowance: Allowance | None = None,
    ) -> Sequence[Claimed] | None:
        """Make a guarded move for the node that it names and, if it happens, :meth:`claim` for that node, both in one
        transaction. A node that is not `ready` is given nothing; the task that is moved is never among those given, and the
        slot that it leaves may be taken, and its sessions.

        None where the move did not happen, because its guard does not hold or the node's epoch is not this one (it was
        lost, or registered anew): then nothing is changed and nothing given.

        Raises:
            IllegalTransitionError: as :meth:`move`.
        """

    async def move(self, moves: Sequence[Move]) -> Sequence[bool]:
        """Make guarded changes of state; for each, whether it happened. Each is atomic by itself, together with what
        :func:`millrace.domain.parts.follow_up` says that follows from it.

        Raises:
            IllegalTransitionError: a move names a source from which its target may not follow; nothing is changed.
        """

    async def split(self, split: Split) -> bool:
        """Make a guarded move of a job's lead and, if it happens, add the parts that it waits for, in one transaction; whether it
        happened. It does not where the task is no lead, or was split already.

        Raises:
            IllegalTransitionError: as :meth:`move`.
        """

    async def hedge(self, hedge: Hedge) -> bool:
        """Queue a second task for a part, if :func:`millrace.domain.parts.may_hedge`; whether it happened. It avoids the node that
        makes the part for as long as nobody has begun it.
        """

    async def under_way_in_parts(self, *, limit: int) -> Sequence[str]:
        """The ids of jobs that wait for their parts, none of which waits for a worker, oldest first."""

    async def ended_splits(self, *, limit: int) -> Sequence[tuple[str, int]]:
        """Jobs that have ended, and of which what their tasks handed to each other may still be kept, each with the position of
        its last task.
        """

    async def forget_pieces(self, job_id: str, last: int) -> None:
        """What the parts of a job that has ended have handed on is deleted, up to that of the task at this position."""

    async def due(self, *, limit: int) -> Sequence[Task]:
        """Tasks in `pending` or `retrying` whose time has come."""

    async def next_due(self) -> datetime | None:
        """When the next of them is due."""

    async def orphans(self, *, limit: int) -> Sequence[Task]:
        """Tasks held under an epoch that is no longer their node's."""

    async def left_by(self, node_id: str, *, epoch: int, limit: int) -> Sequence[Task]:
        """Those of one node: tasks that it holds under an epoch before this one, which is its own by now."""

    async def queued_classes(self) -> Mapping[int, datetime]:
        """For each class with queued tasks, since when its oldest has waited."""

    async def queued(self, class_id: int, *, limit: int) -> Sequence[Task]:
        """Queued tasks of one class, lowest rank first."""

    # Nodes --------------------------------------------------------------------------------------------------------

    async def register(self, node: NewNode) -> Node | None:
        """Add the node, or update the one with this fingerprint. Another boot id, or a node that was lost, gets a new
        epoch, so that what it held before is orphaned at once. A draining node becomes ready only with a new boot id.

        None where the boot id is one of earlier, and the worker that registered since lives: its lease lasts, and it was heard
        of after it had registered. Two workers have one identity then, and the later one keeps it.
        """

    async def heartbeat(self, *, node_id: str, epoch: int, ttl_s: float, reports: Sequence[Report]) -> Beat | None:
        """Extend the node's lease and keep the progress of its tasks (not in the job's row; reports of attempts that
        are not the node's are ignored); None where the epoch is not the node's.
        """

    async def nodes(self) -> Sequence[Node]:
        """Every node, oldest first."""

    async def node(self, ref: str) -> Node | None:
        """A node by id or by name."""

    async def set_node_state(self, node_id: str, target: NodeState, *, sources: Iterable[NodeState]) -> bool:
        """Change a node's state if it is one of `sources`; whether it happened."""

    async def add_blame(self, node_id: str, job_id: str, failure: Failure) -> None:
        """A job failed on this node and was completed by another; said again, it counts once. Forgets what is a day old."""

    async def node_record(self, node_id: str) -> NodeRecord:
        """What counts for and against a node: of the last `SPAN_S` at the most, since it was last released, and on a busy
        farm of the time in which the last few hundred jobs ended.
        """

    async def quarantine(self, node_id: str, *, reason: str, proof_after_s: float, times: int) -> bool:
        """Give the node no work until it is released, also when it registers anew; where it is in quarantine already, the
        reason and the time of the proof are replaced. False where there is no such node.
        """

    async def release(self, node_id: str) -> bool:
        """End the node's quarantine; whether there was one."""

    async def remove_node(self, node_id: str) -> bool:
        """Forget a node that holds no task, and end its key; False where it holds one or is unknown. Attempts keep its name."""

    async def expire_leases(self, *, limit: int) -> Sequence[Node]:
        """Mark nodes whose lease has passed as lost, each with its epoch grown by one; returns them as they now are."""

    async def clock_was_set_back(self, *, by_s: float, ttl_s: float) -> None:
        """No lease lasts for more than `ttl_s` seconds from now, and what waits for its next attempt is due by so much sooner."""

    # What a worker may read, and what it has sent -----------------------------------------------------------------

    async def holds_input(self, location: str, *, node_id: str | None, key_id: str) -> bool:
        """Whether a node holds, under a lease that lasts, a task of a job with this input: the node of this id, or where that
        is None any that registered with this key (or of which that is not known).
        """

    async def key_of_node(self, node_id: str) -> str | None:
        """The id of the key that the node registered with, empty for the masters' own; None where that is not known."""

    async def keep_arrival(self, task_id: str, attempt: int, name: str, arrival: Arrival) -> None:
        """An attempt's output has arrived at a master; said again, the last counts."""

    async def arrivals(self, task_id: str, attempt: int) -> Mapping[str, Arrival]:
        """What has arrived of an attempt's outputs, by name."""

    async def forget_arrivals(self, job_id: str) -> None:
        """The job has completed: its outputs stand elsewhere."""

    # Logs ---------------------------------------------------------------------------------------------------------

    async def append_log(self, task_id: str, attempt: int, *, offset: int, data: bytes) -> int | None:
        """Append to the log of an attempt and return its new length in bytes.

        Data that begins before the end is taken from there on (a repeated request adds nothing twice); data that
        begins after the end is refused by returning the present length unchanged. None for an attempt that never was.
        """

    async def read_log(self, task_id: str, attempt: int, *, offset: int, limit: int) -> bytes | None:
        """Bytes of the log from an offset; None for an attempt that never was."""

    # API keys -----------------------------------------------------------------------------------------------------

    async def add_key(self, key: NewKey) -> ApiKey | None:
        """Keep a key; None where another one that is live (neither revoked nor expired) has its name."""

    async def keys(self, *, ended: bool) -> Sequence[ApiKey]:
        """The live keys, oldest first; with `ended` also those that were revoked or have expired."""

    async def key(self, ref: str) -> ApiKey | None:
        """A key by id, or the live one of this name."""

    async def live_key(self, mark: bytes | str) -> ApiKey | None:
        """The live key whose secret has this SHA-256 (for a while after its rotation also the secret before), or whose id
        this is.
        """

    async def rotate_key(self, key_id: str, *, digest: bytes, hint: str, grace_s: float) -> ApiKey | None:
        """Give a live key another secret; the one before is good for `grace_s` more. None where no live key has this id."""

    async def revoke_key(self, key_id: str) -> ApiKey | None:
        """End a key for good, all its secrets; it may have ended already. None where there is none of this id."""

    async def delete_ended_keys(self, *, before: datetime, limit: int) -> int:
        """Forget keys that were revoked, or have expired, before a moment; returns how many."""

    async def note_keys_used(self, key_ids: Collection[str]) -> None:
        """These keys were used just now."""

    # Machines that join -------------------------------------------------------------------------------------------

    async def add_invitation(self, new: NewInvitation) -> datetime:
        """Keep an invitation; returns when it ends."""

    async def is_invited(self, token: bytes, public: bytes) -> bool:
        """Whether :meth:`enrol` would take this token (its SHA-256) from who has this public key (its SHA-256)."""

    async def enrol(self, new: Enrolment) -> ApiKey | None:
        """Use up an invitation and give the machine a key of its own, bound to the node that it is by its fingerprint; a key
        that this node had before ends. Who comes again with the same public key gets the same key, with the new secret.

        None where the token never was, has ended, or was used by another, or the key that it gave was revoked.
        """

    async def expel(self, node_id: str) -> None:
        """End the key of a node, and its lease: it is lost, with a new epoch, so that what it holds is orphaned at once."""

    async def authority(self) -> str | None:
        """The fingerprint of the authority that signs for the masters; None where there never was one."""

    async def note_authority(self, fingerprint: str, *, replace: bool = False) -> str:
        """Keep this fingerprint where there is none yet, or with `replace` in any case; returns the one that is kept."""

    # The audit trail ----------------------------------------------------------------------------------------------

    async def add_audit(self, block_id: bytes, body: bytes) -> None:
        """Seal a block and put it at the end of the chain; one whose id (16 bytes) is there already is not put there twice."""

    async def audit_head(self) -> Head:
        """Where the chain begins and ends."""

    async def audit_after(self, number: int, *, limit: int) -> Sequence[Block]:
        """Blocks that follow the one of this number (0: from the beginning), oldest first."""

    async def audit_before(self, number: int, *, limit: int) -> Sequence[Block]:
        """Blocks before the one of this number, newest first."""

    async def forget_audit(self, *, before: datetime, limit: int) -> None:
        """Delete the oldest blocks that were written before a moment, `limit` at most, and never the last."""

    # Masters ------------------------------------------------------------------------------------------------------

    async def attend(self, master: Presence, *, ttl_s: float) -> Attendance:
        """A master lives. It leads for `ttl_s` more if it led before, or if nobody does."""

    async def attendance(self, *, ttl_s: float) -> Attendance:
        """The masters that were seen in the last `ttl_s`, and who leads."""

    async def masters_behind(self, *, ttl_s: float) -> int:
        """How many masters were seen within `ttl_s` seconds that are of an older version, by the migrations that they know."""

    async def leave(self, master_id: str) -> None:
        """A master goes; another one may lead at once."""
