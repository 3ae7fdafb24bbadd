"""Whether a film is encoded whole or in chunks, and where it is cut. Pure.

A cut is a frame number of the plan's grid, never a time. Every chunk runs the same filters on the same clock as the whole
film would and keeps its own places of the grid, so what is exact does not depend on where the seek lands, as long as it
lands at or before the first frame; one that lands later makes too few frames, which the check finds.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from fractions import Fraction
from operator import itemgetter

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.media import chunk_costs as costs
from millrace.domain.media.outputs import Pictures, Plan
from millrace.domain.media.pace import second
from millrace.domain.media.probe import Probe, VideoStream
from millrace.domain.media.profile import Encoder, Packaging, VideoCodec
from millrace.domain.media.reasons import reason
from millrace.domain.media.split import Chunk, Chunking, Course, Decision, Split, Way

INDEXED = ("mov", "mp4", "matroska", "webm")
"""Containers whose seek lands at or before the time that is asked for. MPEG-TS has no index, and its seek may land later
(measured: 590 of 602 frames)."""
JOINABLE = (Packaging.CMAF, Packaging.HLS, Packaging.MP4, Packaging.MKV, Packaging.WEBM)
MEASURED = (VideoCodec.H264,)
"""Codecs whose gain from chunks is measured; others are cut where somebody asks for it."""
CUTTABLE = (VideoCodec.H264, VideoCodec.H265, VideoCodec.AV1, VideoCodec.VP9)
QUARTER = Fraction(1, 4)
"""Of a frame: what times in milliseconds are off by is less, and the next frame is further away."""
FFMPEG_EARLY = Fraction(3, 23)
"""Seconds that FFmpeg seeks earlier than it is told in containers that it takes to be ordered by decoding time."""
NEIGHBOURS = 2
"""Frames that deinterlacing looks back."""
PER_CORE = 3
"""The most chunks for each core: more of them balance better and decode more for nothing."""
PER_WORKER = 8
"""The same for each worker that shares in a film; there the last one to end is waited for by all."""
MOST_PARTS = 500
SHORTEST = 10
"""Frames of a chunk: one of fewer than its encoder holds back to reorder them has other decoding times, and another header (measured:
1 and 2 of x264 and x265)."""
SPREAD_WORTH = 0.8
"""Part of the time on one worker that several must stay below: they might do something else, and their pieces are moved twice."""
ARRIVING_SLACK = 1.1
"""How many times as long as the fastest division one may take whose last chunk, of a film that arrives, is shorter."""
WORTH = 0.95
"""Part of the time for the whole film that chunks must stay below; what is nearer is within the error of the estimate."""


def with_split(
    plan: Plan,
    probe: Probe | None,
    *,
    cores: int,
    chunking: Chunking = Chunking.AUTO,
    helpers: int = 0,
    each: int = PER_WORKER,
    arriving: bool = False,
) -> Plan:
    """The plan with the division of its work for `cores` cores of one machine and `helpers` others like it, for each of which there
    are `each` chunks at the most. Of a film that is still `arriving` parts are worth it that take no less time.
    """
    found = split(plan, probe, cores=max(1, cores), chunking=chunking, helpers=helpers, each=each, arriving=arriving)
    return replace(plan, split=found)


def split(
    plan: Plan,
    probe: Probe | None,
    *,
    cores: int,
    chunking: Chunking = Chunking.AUTO,
    helpers: int = 0,
    each: int = PER_WORKER,
    arriving: bool = False,
) -> Split:
    """Whole, in chunks on this worker, or in chunks on this and others, with what was weighed and the reason."""
    pictures, source = plan.pictures, source_stream(plan, probe)
    decision = Decision(
        asked=chunking,
        cores=cores,
        helpers=helpers,
        arriving=arriving,
        obstacle="nothing in it is a film from an input",
    )
    if pictures is None or source is None or probe is None or not plan.videos:
        return _decided(Split(), decision)
    cost = costs.film(plan, source)
    film = _Film(plan=plan, pictures=pictures, cost=cost, second=second(plan, cost), cores=cores, chunking=chunking)
    whole = Split(threads=costs.whole_threads(plan, cores) if _is_measured(plan) else ())
    decision = replace(
        decision,
        unit=unit_frames(plan),
        obstacle=_obstacle(plan, probe, source, chunking) or "",
        ways=(film.way(Course.WHOLE, costs.whole_time(cost, pictures.frames, cores)),),
    )
    if decision.obstacle:
        return _decided(whole, decision)
    film = replace(film, starts=starts(plan, pictures, probe, source))
    here, decision = _here(film, replace(whole, is_possible=True), decision)
    if helpers > 0:
        here, decision = _spread(film, here, decision, workers=helpers + 1, each=each)
    return _decided(here, decision)


def _decided(made: Split, decision: Decision) -> Split:
    return replace(made, decision=decision, reason=reason(decision))


class Start(Struct, frozen=True):
    """Where reading begins for a chunk that begins with this piece, and how many frames are decoded for nothing then."""

    seek: Fraction
    lead: int


class _Film(Struct, frozen=True, kw_only=True):
    """A film, and what is known of how it can be cut. `second` is what a core does in one, in the unit of the costs."""

    plan: Plan
    pictures: Pictures
    cost: costs.Cost
    second: float
    cores: int
    chunking: Chunking
    starts: "Sequence[Start | None]" = ()

    def divisions(self, counts: Iterable[int]) -> "list[tuple[Chunk, ...]]":
        """The film in about so many chunks; none where it cannot be cut at all."""
        unit = unit_frames(self.plan)
        found = (_division(self.pictures, count, unit, self.starts) for count in counts)
        return [chunks for chunks in found if len(chunks) > 1]

    def way(self, course: Course, time: float, chunks: Sequence[Chunk] = (), workers: int = 1) -> Way:
        """A course that takes this time, as it is told to people."""
        match course:
            case Course.WHOLE:
                work = costs.whole_work(self.cost, self.pictures.frames, self.cores)
            case Course.CHUNKS:
                work = costs.chunks_work(self.cost, chunks)
            case Course.SPREAD:
                work = costs.spread_work(self.cost, chunks, cores=self.cores)
        return Way(
            course=course,
            time_s=time / self.second,
            cpu_s=work / self.second,
            chunks=max(1, len(chunks)),
            workers=workers,
            repeated=sum(chunk.lead for chunk in chunks),
        )


def _here(film: _Film, whole: Split, decision: Decision) -> tuple[Split, Decision]:
    """What one worker does, whole or in chunks."""
    cost, cores = film.cost, film.cores
    at_once = costs.side_by_side(cost, cores)
    timed = [
        (costs.chunks_time(cost, chunks, at_once=at_once, cores=cores), len(chunks), chunks)
        for chunks in film.divisions(_counts(len(film.starts), cores, film.chunking))
    ]
    if not timed:
        return whole, replace(decision, obstacle="no key frame of the input lies where it could be cut")
    time, count, chunks = min(timed)
    ways = (*decision.ways, film.way(Course.CHUNKS, time, chunks))
    if film.chunking is Chunking.AUTO and ways[1].time_s > WORTH * ways[0].time_s:
        return whole, replace(decision, ways=ways)
    cut = replace(
        whole,
        chunks=chunks,
        at_once=min(at_once, count),
        threads=(max(1, cores // count),) * len(film.plan.videos) if _is_measured(film.plan) else (),
    )
    return cut, replace(decision, ways=ways, here=1, chosen=1)


def _spread(film: _Film, here: Split, decision: Decision, *, workers: int, each: int) -> tuple[Split, Decision]:
    """The film on several workers where that pays, else `here`."""
    most = min(len(film.starts), workers * each, MOST_PARTS)
    timed = [
        (costs.spread_time(film.cost, chunks, workers=workers, cores=film.cores), len(chunks), chunks)
        for chunks in film.divisions(sorted({*range(2, most + 1, max(1, workers // 4)), most}))
    ]
    if not timed:
        return here, decision
    time, count, chunks = min(timed)
    if decision.arriving:
        # What is encoded after the last byte is the last of them: as many as cost little more.
        slack = ARRIVING_SLACK * time
        time, count, chunks = max((one for one in timed if one[0] <= slack), key=itemgetter(1))
    way = film.way(Course.SPREAD, time, chunks, min(workers, count))
    alone = decision.ways[decision.here]
    decision = replace(decision, ways=(*decision.ways, way))
    if film.chunking is Chunking.AUTO and not decision.arriving and way.time_s > SPREAD_WORTH * alone.time_s:
        return here, decision
    shared = replace(
        here,
        chunks=chunks,
        at_once=1,
        workers=way.workers,
        threads=costs.spread_threads(film.plan, film.cores) if _is_measured(film.plan) else (),
    )
    return shared, replace(decision, chosen=len(decision.ways) - 1)


def unit_frames(plan: Plan) -> int:
    """The frames of the smallest piece that can be cut out: whole GOPs, and whole segments where there are any."""
    video = plan.videos[0]
    return max(video.gop_frames, round(plan.segment * video.rate)) if plan.packaging.is_segmented else video.gop_frames


def source_stream(plan: Plan, probe: Probe | None) -> VideoStream | None:
    """The stream that the plan's pictures come from; None where they come from no file."""
    if plan.pictures is None or plan.generated is not None or probe is None:
        return None
    return next((one for one in probe.video if one.index == plan.pictures.stream), None)


def _obstacle(plan: Plan, probe: Probe, source: VideoStream, chunking: Chunking) -> str | None:
    """Why this film is not cut: nobody wants it, or no test proves that it would be exact; None where it can be."""
    unit = unit_frames(plan)
    container = probe.formats[0] if probe.formats else "this container"
    obstacles = (
        (chunking is Chunking.NEVER, "chunks are switched off for this job"),
        (plan.mending is not None, "the input is damaged"),
        (plan.packaging not in JOINABLE, f"{plan.packaging} is not joined from pieces"),
        (not set(INDEXED) & set(probe.formats), f"a seek in {container} is not exact"),
        (not source.exact_times, "the container keeps no presentation times"),
        (source.hidden > 0, f"an edit list hides {source.hidden} frames"),
        (any(one.settings.codec not in CUTTABLE for one in plan.videos), "its codec is not joined from pieces"),
        (
            any(one.settings.encoder is not Encoder.AUTO for one in plan.videos),
            "each chunk would take sessions of the graphics card that encodes it",
        ),
        (
            any(one.settings.bitrate_bps is not None for one in plan.videos),
            "an average bit rate is kept over the whole film only",
        ),
        (plan.frames < unit + SHORTEST, f"it is not longer than one piece of {unit} frames"),
        (
            chunking is Chunking.AUTO and not _is_measured(plan),
            f"what chunks gain is measured for {', '.join(MEASURED)} only",
        ),
    )
    return next((text for applies, text in obstacles if applies), None)


def _is_measured(plan: Plan) -> bool:
    return all(one.settings.codec in MEASURED for one in plan.videos)


def _counts(units: int, cores: int, chunking: Chunking) -> Sequence[int]:
    most = min(units, max(2, cores * PER_CORE))
    least = 2 if chunking is Chunking.ALWAYS else min(most, max(2, cores))
    return range(least, most + 1, max(1, cores // 4))


def starts(plan: Plan, pictures: Pictures, probe: Probe, source: VideoStream) -> list[Start | None]:
    """For each piece, how a chunk could begin with it; None where no key frame serves.

    Some demuxers look for the last key frame by its presentation time and others by its decoding time, which is earlier
    (measured: mp4). So the seek names a moment that lies after the first kind of time of the wanted key frame and before
    the second kind of the next: whichever is meant, what is found is that key frame or an earlier one.
    """
    unit = unit_frames(plan)
    # In quarters of a frame: whole numbers keep a long film fast.
    keys = [int((time - probe.start) * pictures.rate * 4) for time in source.keyframes]
    early = 0 if "mov" in probe.formats or "mp4" in probe.formats else int(FFMPEG_EARLY * pictures.rate * 4)
    begins: list[Start | None] = []
    for first in range(0, plan.frames, unit):
        reach = (first - (NEIGHBOURS if pictures.deinterlace else 0)) * 4 + 1
        wanted = bisect_right(keys, reach) - 1
        if wanted < 0:
            begins.append(None)
            continue
        seek = source.keyframes[wanted] + QUARTER / pictures.rate
        if wanted + 1 < len(source.key_decoding):
            seek = min(seek, source.key_decoding[wanted + 1] - QUARTER / pictures.rate)
        found = max(0, bisect_right(keys, keys[wanted] + 1 - early) - 1)
        begins.append(Start(max(seek - probe.start, Fraction(0)), max(0, first - keys[found] // 4)))
    return begins


def _division(pictures: Pictures, count: int, unit: int, starts: Sequence[Start | None]) -> tuple[Chunk, ...]:
    """At most `count` chunks: each cut lies near its even share, where the fewest frames are decoded for nothing."""
    even, least = Fraction(len(starts), count), -(-SHORTEST // unit)
    reach = int(even / 4)
    cuts: list[tuple[int, Start | None]] = [(0, None)]
    for number in range(1, count):
        place = round(even * number)
        near = [
            (start.lead + abs(one - place), one, start)
            for one in range(max(cuts[-1][0] + least, place - reach), min(place + reach + 1, len(starts)))
            if (start := starts[one]) is not None and one * unit + SHORTEST <= pictures.frames
        ]
        if near:
            _, cut, start = min(near, key=lambda one: one[:2])
            cuts.append((cut, start))
    ends = [*(cut * unit for cut, _ in cuts[1:]), pictures.frames]
    return tuple(
        Chunk(
            number=number,
            first=cut * unit,
            end=end,
            seek=start.seek if start else None,
            lead=start.lead if start else 0,
        )
        for number, ((cut, start), end) in enumerate(zip(cuts, ends, strict=True))
    )
