"""How one film is divided for encoding, as data. Who encodes a chunk, and on which machine, is not said here.

A chunk is whole in itself: with the plan, its own two frame numbers and a seek time, anyone who has the source makes the
same bytes, in any order and beside any others. What is joined afterwards is named by the plan and the chunk alone.
"""

from enum import StrEnum
from fractions import Fraction

from msgspec import Struct


class Chunking(StrEnum):
    """Whether a job may be encoded in chunks; `auto` where that is faster and proven."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Course(StrEnum):
    """How a film is encoded."""

    WHOLE = "whole"  # by one process
    CHUNKS = "chunks"  # side by side on one worker
    SPREAD = "spread"  # over several workers


class Way(Struct, frozen=True, kw_only=True):
    """A course as it was weighed: so many chunks on so many workers, with `repeated` frames decoded twice.

    `time_s` is what its encode is expected to take, `cpu_s` the seconds of all cores together
    (:mod:`millrace.domain.media.chunk_costs` has the figures).
    """

    course: Course
    time_s: float
    cpu_s: float
    chunks: int = 1
    workers: int = 1
    repeated: int = 0


class Decision(Struct, frozen=True, kw_only=True):
    """What was weighed, and what came of it; :func:`millrace.domain.media.reasons.reason` says it in a sentence.

    Attributes:
        asked: what the job says of chunks.
        cores: of each worker, which the times were counted with.
        helpers: workers beside the one that planned.
        unit: frames of the smallest piece that can be cut out; 0 where there are no pictures.
        obstacle: why it was not cut, where that is no matter of time.
        ways: the best of each course that is possible, the whole first.
        here: the place of the best one on one worker, where there are any.
        chosen: the place of the one that was taken.
        arriving: the film still arrived, so that parts begin before all of it is there.
    """

    asked: Chunking
    cores: int
    helpers: int = 0
    unit: int = 0
    obstacle: str = ""
    ways: tuple[Way, ...] = ()
    here: int = 0
    chosen: int = 0
    arriving: bool = False


class Chunk(Struct, frozen=True, kw_only=True):
    """Frames `first` to `end` (exclusive) of the plan's grid, a whole number of GOPs and segments.

    `seek` is where reading begins, in seconds after the beginning of the source, at a key frame or before it: any earlier
    one serves as well, so that no seek needs to be exact. None reads from the beginning. `lead` frames are decoded for nothing, as far as known.
    """

    number: int
    first: int
    end: int
    seek: Fraction | None = None
    lead: int = 0

    @property
    def frames(self) -> int:
        """How many frames it makes."""
        return self.end - self.first


class Split(Struct, frozen=True, kw_only=True):
    """The chunks in order of time; none where the film is encoded whole. `reason` says why, in a sentence.

    `is_possible`: nothing in the film or the job stands against cutting it. `workers` is how many share in the chunks, each a task of
    its own; 0 where one worker makes all of them. `at_once` is how many chunks run side by side: one more than there are cores, so that none is idle at a chunk's end.
    `threads` are those of each rendition's encoder, in the order of the plan; empty leaves them to the engine. The decoder
    of a chunk has as many as its first encoder. `decision` is what led here.
    """

    chunks: tuple[Chunk, ...] = ()
    reason: str = ""
    at_once: int = 1
    is_possible: bool = False
    workers: int = 0
    threads: tuple[int, ...] = ()
    decision: Decision | None = None

    @property
    def is_whole(self) -> bool:
        """True where there are no chunks."""
        return not self.chunks

    def threads_of(self, rendition: int) -> int | None:
        """The threads of that rendition's encoder; None where the engine chooses."""
        return self.threads[rendition] if self.threads else None
