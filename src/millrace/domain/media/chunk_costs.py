"""What an encode costs, in pixels encoded: enough to choose between ways of doing the same work, never a promise in seconds.

The figures are measured with x264 veryfast at 1080p (docs/decisions/0013-chunks.md).
"""

from collections.abc import Sequence

from msgspec import Struct

from millrace.domain.media.outputs import Plan
from millrace.domain.media.probe import VideoStream
from millrace.domain.media.split import Chunk

DECODE = 1 / 6
"""Decoding a pixel, of encoding one."""
SCALE = 1 / 20
"""Scaling to a rendition, of encoding a pixel of it."""
THREADING, THREADING_OF_A_LADDER = 1.05, 1.02
"""What encoders with threads of their own cost, of those without; in a ladder the renditions keep each other busy."""
FILLED, FILLED_BY_A_LADDER = 0.9, 0.95
"""The part of several cores that one process keeps busy; processes side by side keep all of them busy."""
CROWD = 1.03
"""What processes side by side cost, of one alone: they share caches."""
START = 2 * 1920 * 1080
"""Starting one more process, joining what it made: about two frames of 1080p."""


class Cost(Struct, frozen=True, kw_only=True):
    """For each frame: `decode`, and `largest` of all stages (each is one thread where encoders have none), and `all`."""

    decode: float
    largest: float
    all: float
    is_ladder: bool


def film(plan: Plan, source: VideoStream) -> Cost:
    """The cost of a frame of this plan."""
    decode = source.width * source.height * DECODE
    encodes = [float(one.size.width * one.size.height) for one in plan.videos]
    scale = sum(encodes) * SCALE
    return Cost(
        decode=decode,
        largest=max([decode, scale, *encodes]),
        all=decode + scale + sum(encodes),
        is_ladder=len(encodes) > 1,
    )


def whole_threads(cores: int) -> int | None:
    """1 on a single core, which threads inside the encoders only cost; else the engine's own choice.

    On two cores a ladder whose encoders had one thread each took 1.2 times as long, at equal CPU time: its stages wait for
    each other.
    """
    return 1 if cores == 1 else None


def whole_time(cost: Cost, frames: int, cores: int) -> float:
    """The time for the whole film in one process."""
    if cores == 1:
        return cost.all * frames
    filled, threading = (FILLED_BY_A_LADDER, THREADING_OF_A_LADDER) if cost.is_ladder else (FILLED, THREADING)
    return cost.all * threading / (cores * filled) * frames


def chunks_time(cost: Cost, chunks: Sequence[Chunk], *, at_once: int, cores: int) -> float:
    """The time for all chunks: the longest first, `at_once` side by side, who share the cores; each uses what its stages can."""
    waiting = sorted((chunk.frames * cost.all + chunk.lead * cost.decode) * CROWD + START for chunk in chunks)
    width = max(1.0, cost.all / cost.largest * FILLED)
    running: list[float] = []
    now = 0.0
    while waiting or running:
        while waiting and len(running) < at_once:
            running.append(waiting.pop())
        speed = min(width, cores / len(running))
        step = min(running) / speed
        now += step
        running = [left - step * speed for left in running]
        running = [left for left in running if left > 1e-6]
    return now
