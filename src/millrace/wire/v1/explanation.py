"""Why a job is encoded as it is: what was found, what was weighed, what came of it."""

from millrace.domain.media.split import Chunking, Course
from millrace.domain.states import State
from millrace.wire.v1.base import Document, Reply


class CandidateView(Reply):
    """A node that is asked for, how many of its slots are free, and what it lacks to run the job; empty where it could."""

    node: str
    state: str
    free: int
    lacks: str


class WayView(Reply):
    """A course as it was weighed: `time_s` is what its encode was expected to take, `cpu_s` the seconds of all cores together."""

    course: Course
    chunks: int
    workers: int
    repeated_frames: int
    time_s: float
    cpu_s: float
    chosen: bool


class DecisionView(Reply):
    """What was decided, and what was weighed: for `cores` of each worker, and so many `helpers` beside the one that planned."""

    reason: str
    asked: Chunking
    cores: int
    helpers: int
    piece_frames: int
    ways: list[WayView]


class ChunkView(Reply):
    """A chunk, and who makes it or has made it: the task by its place in the job, the node by its name."""

    number: int
    first_frame: int
    frames: int
    length_s: float | None
    task: int | None
    node_name: str | None
    state: State | None
    took_s: float | None


class SpentView(Reply):
    """The time of an encode, and the seconds of all cores together; null where it is not known."""

    time_s: float | None
    cpu_s: float | None


class Explanation(Reply, kw_only=True):
    """Why a job is encoded as it is. Without a `decision` no worker has planned it: then `waits` says why, and `candidates` who could
    take it. `source` is what was found in the input, `steps` what is done with it. `expected` and `actual` are of the encode.
    """

    job: str
    number: int
    state: State
    profile: str
    input: str | None
    waits: str
    candidates: list[CandidateView]
    source: Document | None
    decision: DecisionView | None
    steps: dict[str, str]
    notes: list[str]
    chunks: list[ChunkView]
    expected: SpentView | None
    actual: SpentView | None
    job_s: float | None
