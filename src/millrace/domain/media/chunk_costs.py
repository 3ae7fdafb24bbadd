"""What an encode costs, in pixels encoded: enough to choose between ways of doing the same work. In seconds it is what people are
told to expect, and no more than that: it was measured on one machine, and films are busy or calm.

The figures are measured with x264 veryfast at 1080p (docs/decisions/0013-chunks.md).
"""

from collections.abc import Sequence
from math import ceil

from msgspec import Struct

from millrace.domain.media.outputs import Plan
from millrace.domain.media.probe import VideoStream
from millrace.domain.media.split import Chunk

DECODE = 1 / 6
"""Decoding a pixel, of encoding one."""
SCALE = 1 / 20
"""Scaling to a rendition, of encoding a pixel of it."""
THREADS_PER_CORE = 1.5
"""Threads of an encoder for each core: with fewer, some cores wait where one thread waits for another (x264's own rule)."""
THREADING, THREADING_OF_A_LADDER = 1.05, 1.09
"""What encoders with threads of their own cost, of those without (also where only the largest of a ladder has two)."""
FILLED, FILLED_BY_A_LADDER = 0.9, 0.97
"""The part of several cores that one process keeps busy; processes side by side keep all of them busy."""
CROWD = 1.03
"""What processes side by side cost, of one alone: they share caches."""
START = 2 * 1920 * 1080
"""Starting one more process, joining what it made: about two frames of 1080p."""
HANDOVER = 20 * 1920 * 1080
"""One more task for another worker: claimed, started, its pieces sent to the master; half a second (docs/decisions/0040-one-film-many-workers.md)."""


UNEVEN = 0.3
"""How much longer than another chunk of as many frames one may take: films are busy here and calm there. A worker waits for that at the
end, so smaller chunks end closer together."""


class Cost(Struct, frozen=True, kw_only=True):
    """For each frame: `decode`, and `largest` of all stages (each is one thread where encoders have none), and `all`. Each chunk makes
    `ahead` frames for nothing.
    """

    decode: float
    largest: float
    all: float
    is_ladder: bool
    ahead: int


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
        ahead=plan.ahead,
    )


def whole_threads(plan: Plan, cores: int) -> tuple[int, ...]:
    """Threads for each encoder where the film is encoded whole; empty where the engine's own choice is best.

    x264 takes THREADS_PER_CORE for each core, as if it were alone. The encoders of a ladder share the cores, so each gets
    that for the part of them which its pixels are worth. Measured on two cores with a minute of 1080p to four renditions: 2,
    1, 1 and 1 threads took 0.92 of the time and 0.93 of the CPU of x264's own 3 each; one thread each took 1.1 times as
    long, since the largest encoder is more than one core's work. One rendition keeps x264's own choice.
    """
    if cores == 1:
        return (1,) * len(plan.videos)
    if len(plan.videos) == 1:
        return ()
    pixels = [one.size.width * one.size.height for one in plan.videos]
    return tuple(ceil(THREADS_PER_CORE * cores * own / sum(pixels)) for own in pixels)


def whole_time(cost: Cost, frames: float, cores: int) -> float:
    """The time for the whole film in one process."""
    filled = 1.0 if cores == 1 else FILLED_BY_A_LADDER if cost.is_ladder else FILLED
    return whole_work(cost, frames, cores) / (cores * filled)


def whole_work(cost: Cost, frames: float, cores: int) -> float:
    """What it costs all cores together."""
    threading = 1.0 if cores == 1 else THREADING_OF_A_LADDER if cost.is_ladder else THREADING
    return cost.all * threading * frames


def side_by_side(cost: Cost, cores: int) -> int:
    """How many chunks run at once. One more than cores for one rendition, so that none idles while the last ends; a ladder keeps more
    than one core busy by itself, and its encoders crowd the caches (three at once took 1.05 of the CPU of two on two cores).
    """
    return cores if cost.is_ladder else cores + 1


def spread_threads(plan: Plan, cores: int) -> tuple[int, ...]:
    """Threads for each encoder of a chunk that has a worker to itself: always said, since what x264 writes depends on them."""
    return whole_threads(plan, cores) or (ceil(THREADS_PER_CORE * cores),) * len(plan.videos)


def spread_time(cost: Cost, chunks: Sequence[Chunk], *, workers: int, cores: int) -> float:
    """The time for all chunks on so many workers with `cores` cores each, the longest first, one after another on each."""
    each = sorted((_frames(cost, chunk) for chunk in chunks), reverse=True)
    loads = [0.0] * workers
    for frames in each:
        least = loads.index(min(loads))
        loads[least] += whole_time(cost, 1, cores) * frames + HANDOVER / cores
    # What the last to end makes the others wait, and the join, which is one more.
    return max(loads) + UNEVEN * whole_time(cost, 1, cores) * each[0] + HANDOVER / cores


def spread_work(cost: Cost, chunks: Sequence[Chunk], *, cores: int) -> float:
    """What they and the join cost all cores of all workers together."""
    return whole_work(cost, sum(_frames(cost, chunk) for chunk in chunks), cores) + HANDOVER * (len(chunks) + 1)


def _frames(cost: Cost, chunk: Chunk) -> float:
    """The frames of a chunk, those ahead of it, and those that are only decoded for the part of one that they cost."""
    return chunk.frames + cost.ahead + chunk.lead * cost.decode / cost.all


def chunks_time(cost: Cost, chunks: Sequence[Chunk], *, at_once: int, cores: int) -> float:
    """The time for all chunks: the longest first, `at_once` side by side, who share the cores; each uses what its stages can."""
    waiting = sorted(_work(cost, chunk) for chunk in chunks)
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


def chunks_work(cost: Cost, chunks: Sequence[Chunk]) -> float:
    """What they cost all cores together."""
    return sum(_work(cost, chunk) for chunk in chunks)


def _work(cost: Cost, chunk: Chunk) -> float:
    return _frames(cost, chunk) * cost.all * CROWD + START
