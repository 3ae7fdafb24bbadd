"""What master and worker say to each other. Every write of a worker names node, epoch and attempt."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from millrace.domain.directives import Action
from millrace.domain.failures import FailureClass
from millrace.domain.records import Kind
from millrace.wire.v1.base import Attempt, Count, Document, Fraction, Labels, Name, Reply, Request, Sha256

Fingerprint = Annotated[str, msgspec.Meta(min_length=8, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$(?!\n)")]


class RegisterRequest(Request):
    """A worker introduces itself. The fingerprint stays over restarts; the boot id is new with every start."""

    fingerprint: Fingerprint
    boot_id: Fingerprint
    name: Name
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    labels: Labels = {}
    engines: list[Name] = []
    encoders: Annotated[
        dict[str, str],
        msgspec.Meta(
            max_length=256,
            description="Each encoder tried, with the reason why it does not work, or an empty text for one that does.",
        ),
    ] = {}
    memory_mb: Count = 0
    facts: Document = {}


class RegisterReply(Reply):
    """The node's id and the terms of its lease."""

    node: str
    epoch: int
    lease_ttl_s: float
    heartbeat_s: float


class NextClaim(Request):
    """A claim that comes with a report: work for the slot that the report frees, without waiting for any. A repeated
    `request` returns the same tasks.
    """

    epoch: Count
    request: Annotated[str, msgspec.Meta(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9-]+$(?!\n)")]
    limit: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


class ClaimRequest(NextClaim):
    """Ask for work, waiting up to `wait_s` seconds for some. A repeated `request` returns the same tasks."""

    wait_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0


class PartView(Reply):
    """What a task of a divided job is to make: chunk `number`, sound and text, or the join, by the plan of the worker that divided
    it.
    """

    kind: Kind
    number: int
    plan: Document


class TaskView(Reply):
    """A task that the node now holds, with all it needs. `part` is set where its job was divided."""

    task: str
    job: str
    number: int
    attempt: int
    profile: str
    spec: Document
    timeout_s: float | None
    part: PartView | None = None


class ClaimReply(Reply):
    """The tasks given; none where the wait ended without work."""

    tasks: list[TaskView]


class TaskReport(Request):
    """One task in a heartbeat."""

    task: str
    attempt: Attempt
    paused: bool = False
    fraction: Fraction = 0.0
    phase: Annotated[str, msgspec.Meta(max_length=32)] = ""
    frame: Count = 0
    fps: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    speed: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    eta_s: Annotated[float, msgspec.Meta(ge=0)] | None = None


class HeartbeatRequest(Request):
    """The node lives, and this is how far its tasks have come."""

    epoch: Count
    tasks: Annotated[list[TaskReport], msgspec.Meta(max_length=4096)] = []


class DirectiveView(Reply):
    """What to do with one attempt of one task."""

    task: str
    attempt: int
    action: Action


class HeartbeatReply(Reply):
    """The lease is extended; what to do now."""

    lease_ttl_s: float
    drain: bool
    directives: list[DirectiveView]
    prove: Annotated[
        bool,
        msgspec.Meta(description="The node is in quarantine, and is to try its encoders anew and send a proof."),
    ] = False


class ProofRequest(Request):
    """A node in quarantine has tried its encoders anew."""

    epoch: Count
    encoders: Annotated[
        dict[str, str],
        msgspec.Meta(max_length=256, description="As at registration: an empty text for each that works."),
    ]


class ProofReply(Reply):
    """Whether the node takes work again; if not, why."""

    released: bool
    reason: str


class Fenced(Request):
    """What every write about a task carries; with an old attempt it changes nothing and is answered with 409."""

    node: str
    attempt: Attempt


Found = Annotated[
    Document, msgspec.Meta(description="What is kept with the job: what was found in its input, and what was planned.")
]


class StartRequest(Fenced, omit_defaults=True):
    """The inputs are there and the engine starts."""

    facts: Found = {}


class Skill(Fenced, kw_only=True):
    """What a worker must be able to do to make parts of this job: `engine` is among the engines that it registered with, and each
    of `encoders` works.
    """

    engine: Name
    encoders: Annotated[list[Name], msgspec.Meta(max_length=16)]


class HelpersRequest(Skill, kw_only=True):
    """Ask whether dividing the job over several workers makes sense."""


class HelpersReply(Reply):
    """How many parts other nodes could begin at once. Where it is 0 whoever they are, `reason` says why."""

    slots: int
    reason: str = ""


class PartRequest(Request, omit_defaults=True):
    """One part, to be claimed in the order of the list. `frames` is how many pictures it makes: its weight in the job's progress; `awaits`
    how many bytes of its upload have to arrive before it is queued.
    """

    kind: Literal["chunk", "sides"]
    number: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    frames: Count = 0
    awaits: Count = 0


class SplitRequest(Skill, kw_only=True, omit_defaults=True):
    """Divide the job: this attempt ends, the parts are queued, and the task waits for all of them, and then joins them."""

    parts: Annotated[list[PartRequest], msgspec.Meta(min_length=1, max_length=1000)]
    plan: Annotated[Document, msgspec.Meta(description="What those who make the parts and join them go by.")]
    facts: Found = {}


class PieceView(Reply):
    """A file that a part has handed on."""

    name: str
    size: int
    sha256: str


class MadeView(Reply):
    """What one part has made: its position in the job, the attempt and the node (by name) that made it. `prefix` is where its pieces lie
    among the masters' blobs, `beat` the task that made the same and was later, where two raced.
    """

    position: int
    attempt: int
    node_name: str
    pieces: list[PieceView]
    prefix: str = ""
    beat: str = ""


class PartsReply(Reply):
    """The parts that are made, in order."""

    parts: list[MadeView]


class PlaceReply(Reply):
    """Below which key an attempt may store its files among the masters' blobs, where the worker reaches these itself."""

    prefix: str


class StoredFile(Request):
    """One file that the worker has stored itself."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    sha256: Sha256
    size: Count


class StoredRequest(Fenced, kw_only=True):
    """Files that were stored among the masters' blobs without going through a master."""

    files: Annotated[list[StoredFile], msgspec.Meta(max_length=100_000)]


class StoredReply(Reply):
    """What each of these files is to be reported as, in their order."""

    locations: list[str]


class CachedView(Reply):
    """A finished piece that was kept for later jobs."""

    size: int
    sha256: str


class OutputReport(Request):
    """One file that was published."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    location: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    sha256: Sha256
    size: Count
    streams: list[Document] = []


class EndRequest(Fenced, kw_only=True):
    """The attempt ended. With a `claim`, master and worker spare a request: both happen, or neither."""

    claim: NextClaim | None = None


class CompleteRequest(EndRequest, kw_only=True):
    """The work is done, checked and published."""

    outputs: Annotated[list[OutputReport], msgspec.Meta(max_length=100_000)] = []
    facts: Document = {}


class FailRequest(EndRequest, kw_only=True, omit_defaults=True):
    """The attempt failed."""

    # Written down without defaults: a master of before takes no field that it does not know.

    failure_class: FailureClass = msgspec.field(name="class")
    message: Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
    facts: Annotated[
        Document, msgspec.Meta(description="What is known of why, such as the damaged places of the input.")
    ] = {}


class HandBackRequest(EndRequest, kw_only=True, omit_defaults=True):
    """The worker gives the task back unspent: it drains, or has no room for it, or its upload has not come so far. Then `awaits` says how
    many bytes of that it needs, and the task waits for them.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    delay_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    awaits: Count = 0


class Taken(Reply):
    """The master's answer to a report: where the task stands now."""

    task: str
    state: str


class Ended(Taken):
    """The master's answer to a report that ends an attempt; with it the tasks that its claim was given, if any."""

    tasks: list[TaskView] = []


class LogReply(Reply):
    """How many bytes of the attempt's log the master has."""

    length: int


class QuarantineView(Reply):
    """Why a node is given no work; from `proof_due` on it may prove itself and is released."""

    reason: str
    since: datetime
    proof_due: datetime
    times: int


class NodeView(Reply):
    """A machine of the farm."""

    id: str
    name: str
    state: Literal["ready", "draining", "quarantined", "lost"]
    epoch: int
    slots: int
    holding: int
    labels: dict[str, str]
    engines: list[str]
    encoders: dict[str, str]
    memory_mb: int
    facts: Document
    registered: str
    seen: str
    quarantine: QuarantineView | None = None


class NodeList(Reply):
    """Every node, oldest first."""

    nodes: list[NodeView]
    count: int
