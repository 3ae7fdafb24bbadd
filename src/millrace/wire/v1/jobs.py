"""Jobs, as people submit and read them."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from millrace.domain.failures import FailureClass
from millrace.domain.media.damage import OnDamage
from millrace.domain.media.profile import Encoder
from millrace.domain.media.split import Chunking
from millrace.domain.order import Priority, Queue
from millrace.domain.records import Kind, Outcome
from millrace.domain.sla import Classification
from millrace.domain.states import State
from millrace.wire.v1.base import Document, Labels, Name, Reply, Request

EngineChoice = Literal["auto", "ffmpeg", "gstreamer"]


_Bitrate = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,3})?[kM]?$(?!\n)", examples=["2500k"])]


DEFAULT_TENANT = "default"
"""Whose a job is where it does not say."""


class Parameters(Request, omit_defaults=True):
    """What a job changes in its profile, for every rendition."""

    codec: Literal["h264", "h265", "av1", "vp9"] | None = None
    height: Annotated[int, msgspec.Meta(ge=2, le=8192)] | None = None
    preset: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] | None = None
    crf: Annotated[float, msgspec.Meta(ge=0, le=63)] | None = None
    bitrate: _Bitrate | None = None
    maxrate: _Bitrate | None = None
    vmaf: (
        Annotated[
            float,
            msgspec.Meta(
                ge=10, le=99, description="A mean VMAF whose CRF is searched, instead of `crf` and `bitrate`."
            ),
        ]
        | None
    ) = None
    fps: Annotated[float, msgspec.Meta(gt=0, le=240)] | None = None
    encoder: (
        Annotated[
            Encoder,
            msgspec.Meta(
                description="Which encoders may make it; `auto`, one in software, and one of a graphics card where none in software works."
            ),
        ]
        | None
    ) = None
    duration_s: (
        Annotated[float, msgspec.Meta(gt=0, le=3600, description="Seconds: the length of a generated test clip.")]
        | None
    ) = None
    on_damage: (
        Annotated[
            OnDamage,
            msgspec.Meta(
                description="What becomes of a damaged input: no output (`fail`), one in which the damage is hidden (`conceal`), or one "
                "without the damaged places (`cut`); instead of what the profile says."
            ),
        ]
        | None
    ) = None
    chunks: (
        Annotated[
            Chunking,
            msgspec.Meta(
                description="Whether the film may be encoded in chunks side by side; `auto`, where that is faster and proven."
            ),
        ]
        | None
    ) = None


class JobRequest(Request, omit_defaults=True):
    """A piece of work: turn `input` into what `profile` describes, and put it at `output`."""

    # Written down without defaults, so that a field more changes neither what a repeated request is known by nor a schedule.

    input: (
        Annotated[
            str,
            msgspec.Meta(
                min_length=1,
                max_length=4096,
                description="A path below an allowed root of the workers, an `http(s)://` or `s3://` URL, or `upload://ID`. Without it a test clip is generated.",
                examples=["/media/film.mp4"],
            ),
        ]
        | None
    ) = None
    profile: (
        Annotated[
            Name | Document,
            msgspec.Meta(
                description="A profile's name, a scenario such as `1080p30-h264`, or a whole profile.",
                examples=["web-hls"],
            ),
        ]
        | None
    ) = None
    scenario: (
        Annotated[
            str,
            msgspec.Meta(
                min_length=1,
                max_length=64,
                description="Another word for `profile`, kept for the predecessor's users.",
                examples=["1080p30-h264"],
            ),
        ]
        | None
    ) = None
    output: (
        Annotated[
            str,
            msgspec.Meta(
                min_length=1,
                max_length=4096,
                description="A folder below an allowed root, or `s3://bucket/prefix`. Without it the master keeps the output.",
                examples=["/media/out/film"],
            ),
        ]
        | None
    ) = None
    overwrite: bool = False
    queue: Queue = Queue.DEFAULT
    priority: Priority = Priority.MEDIUM
    engine: EngineChoice = "auto"
    classification: Classification | None = None
    tenant: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")] = DEFAULT_TENANT
    parameters: Parameters = msgspec.field(default_factory=Parameters)
    labels: Labels = {}
    requires: Annotated[Labels, msgspec.Meta(description="Labels that a node must carry to run the job.")] = {}
    run_after: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    after: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=64)]],
        msgspec.Meta(
            max_length=100,
            description="Jobs, by id or number, that have to complete before this one runs. It is rejected where one of them does not.",
        ),
    ] = []
    after_any_end: Annotated[
        bool, msgspec.Meta(description="Run it once those in `after` have ended, however they ended.")
    ] = False
    early: Annotated[
        bool,
        msgspec.Meta(
            description="Accept it while its upload still arrives, and begin with what is there. Not for batches and schedules, nor with "
            "`run_after` or `after`."
        ),
    ] = False
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=30 * 86_400)] | None = None
    max_retries: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None


class FailureView(Reply):
    """Why a job or an attempt failed, in a sentence that a user can act on."""

    failure_class: FailureClass = msgspec.field(name="class")
    message: str


class ProgressView(Reply):
    """How far the present attempt has come; `fraction` goes from 0 to 1, `speed` is media seconds for each second."""

    fraction: float
    phase: str
    frame: int
    fps: float
    speed: float
    eta_s: float | None
    updated_at: datetime | None


class OutputView(Reply):
    """One published file: a `path` or `s3://` URL where the job named an output, else a `url` below this API."""

    name: str
    size: int
    sha256: str
    streams: list[Document]
    path: str | None = None
    url: str | None = None


class AttemptView(Reply):
    """One claim of the job by one node; `outcome` is null while it runs, `reason` is why it did not complete."""

    attempt: int
    task: str
    node: str
    node_name: str
    claimed: datetime
    started: datetime | None
    ended: datetime | None
    outcome: Outcome | None
    failure: FailureView | None
    reason: str = ""


class TaskStanding(Reply):
    """A task of the job: what it makes (`number` is that of the chunk), where it stands, on which node (by name), and how far it has
    come. `hedges` is the task that makes the same part and was slow when this one was given to a second worker.
    """

    task: str
    kind: Kind
    state: State
    attempt: int
    node_name: str | None
    frames: int
    progress: ProgressView
    hedges: str | None = None
    number: int = 0


class TransitionView(Reply, kw_only=True):
    """One change of state of a task; those of the job's first task are the job's own."""

    cursor: str
    job: str
    number: int
    task: str = ""
    source: State | None = msgspec.field(name="from")
    target: State = msgspec.field(name="to")
    at: datetime
    reason: str
    attempt: int
    actor: str


class SlaView(Reply):
    """Whether a finished job's service level was kept, and why."""

    compliant: bool
    reason: str


class JobView(Reply, kw_only=True):
    """A job as it stands in a list."""

    id: str
    number: int
    state: State
    progress: ProgressView
    queue: Queue
    priority: Priority
    profile: str
    input: str | None
    output: str | None
    engine: str
    classification: Classification | None
    tenant: str
    labels: dict[str, str]
    max_retries: int
    timeout_s: float | None
    created: datetime
    run_after: datetime | None
    started: datetime | None
    finished: datetime | None
    failure: FailureView | None
    sla: SlaView | None
    attempt_count: int = 0


class ArrivingView(Reply):
    """An upload that a job began before all of it was there: its bytes, how many have arrived, and why the job waits for all of them,
    where it does.
    """

    id: str
    size: int
    arrived: int
    reason: str = ""


class JobDetail(JobView, kw_only=True):
    """A job with all that is known of it. `held_back` says for which quota of its tenant a queued job waits, or for which jobs or for
    how much of its upload a pending one; `after` are the ids of those that it runs after; `upload` is there while that still arrives.
    """

    parameters: Document
    outputs: list[OutputView]
    attempts: list[AttemptView]
    transitions: list[TransitionView]
    facts: Document | None
    held_back: str = ""
    after: list[str] = []
    tasks: list[TaskStanding] = []
    upload: ArrivingView | None = None


class JobList(Reply):
    """A page of jobs, newest first; `next` is the cursor of the next page."""

    jobs: list[JobView]
    next: str | None


class RetryManyRequest(Request):
    """Run dead jobs again: those that failed for good although their failures might have gone away by trying. All
    conditions hold together. `before` is the `next` of the answer before.
    """

    failure_class: Annotated[
        list[FailureClass],
        msgspec.Meta(
            max_length=32, description="Only what ended with one of these; without any, all of the platform's."
        ),
    ] = []
    queue: Queue | None = None
    profile: Name | None = None
    tenant: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")] | None = None
    before: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100


class RetryManyReply(Reply):
    """The numbers of the jobs that run again; `next` is where to go on, null at the end."""

    retried: list[int]
    next: str | None


class LogView(Reply):
    """The logs of a job's attempts, in order (the predecessor's shape)."""

    job_id: str
    logs: str
