"""Where a film is cut, and where it is not: properties over any rate, length, GOP, segment and machine."""

import json
import re
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from millrace.domain.media.check import Produced, check
from millrace.domain.media.chunks import MOST_PARTS, PER_WORKER, SHORTEST, split, unit_frames, with_split
from millrace.domain.media.outputs import Plan
from millrace.domain.media.parameters import ParameterError, chunking_of, with_parameters
from millrace.domain.media.plan import plan
from millrace.domain.media.plan_document import PlanError, plan_from, to_document
from millrace.domain.media.probe import Probe, VideoStream
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.proof import proof, with_checksums
from millrace.domain.media.rates import STANDARD_RATES
from millrace.domain.media.split import Chunk, Chunking, Split
from millrace.engines.profiles import named

FILM_S = 60


def film(
    frames: int, rate: Fraction = Fraction(25), *, key: int = 50, start: Fraction = Fraction(0), **facts: Any
) -> Probe:
    """A film of 1080p whose key frames stand `key` frames apart, each decoded two frames before it is shown."""
    keys = tuple(start + number / rate for number in range(0, frames, key))
    stream = VideoStream(
        index=0,
        codec="h264",
        width=1920,
        height=1080,
        frame_rate=rate,
        frames=frames,
        start=start,
        end=start + frames / rate,
        keyframes=keys,
        key_decoding=tuple(time - 2 / rate for time in keys),
    )
    return Probe(formats=("mov", "mp4"), start=start, duration=frames / rate, video=(replace(stream, **facts),))


def document(packaging: str, segment_s: float, gops: int, codec: str = "h264", **video: Any) -> dict[str, Any]:
    times = (
        {"segment_s": segment_s, "gop_s": segment_s / gops} if packaging in ("cmaf", "hls") else {"gop_s": segment_s}
    )
    rung = {"name": "one", "video": {"codec": codec, "height": 360, **video}}
    return {"name": "t", "packaging": packaging, "renditions": [rung], **times}


@settings(deadline=None)
@given(
    frames=st.integers(2, 20_000),
    rate=st.sampled_from(STANDARD_RATES),
    key=st.integers(1, 600),
    start=st.fractions(0, 30, max_denominator=1000),
    packaging=st.sampled_from(("cmaf", "hls", "mp4", "mkv")),
    segment_s=st.sampled_from((0.5, 1, 2, 4, 6, 10)),
    gops=st.sampled_from((1, 2, 4)),
    cores=st.integers(1, 64),
    chunking=st.sampled_from(Chunking),
)
def test_every_frame_is_in_exactly_one_chunk_of_whole_gops_and_segments(
    frames: int,
    rate: Fraction,
    key: int,
    start: Fraction,
    packaging: str,
    segment_s: float,
    gops: int,
    cores: int,
    chunking: Chunking,
) -> None:
    probe = film(frames, rate, key=key, start=start)
    made = with_split(
        plan(profile_from(document(packaging, segment_s, gops)), probe), probe, cores=cores, chunking=chunking
    )
    chunks, unit = made.split.chunks, unit_frames(made)
    assert made.split.reason
    assert made.split.at_once <= cores + 1
    if not chunks:
        assert made.split.reason.startswith("whole: ")
        return
    assert chunking is not Chunking.NEVER
    assert len(chunks) >= 2
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert (chunks[0].first, chunks[0].seek, chunks[-1].end) == (0, None, made.frames)
    assert all(one.end == other.first for one, other in pairwise(chunks))
    assert all(chunk.frames > 0 for chunk in chunks)
    video = made.videos[0]
    assert unit % video.gop_frames == 0
    if made.packaging.is_segmented:
        assert unit == made.segment * video.rate
    for chunk in chunks[1:]:
        assert chunk.first % unit == 0
        _serves(chunk, probe, made)


def _serves(chunk: Chunk, probe: Probe, made: Plan) -> None:
    """Whether a demuxer goes by presentation or by decoding times: the last key at or before the seek is not too late."""
    source = probe.video[0]
    assert chunk.seek is not None
    seek = chunk.seek + probe.start
    for times in (source.keyframes, source.key_decoding):
        found = max((number for number, time in enumerate(times) if time <= seek), default=0)
        place = (source.keyframes[found] - probe.start) * made.videos[0].rate
        assert place < chunk.first + Fraction(1, 2)


def cut(probe: Probe, profile: str = "mp4-h264", *, cores: int = 2, chunking: Chunking = Chunking.AUTO) -> Split:
    return split(plan(named(profile), probe), probe, cores=cores, chunking=chunking)


def test_a_long_film_is_cut_where_its_key_frames_are() -> None:
    found = cut(film(FILM_S * 25, key=100))
    assert len(found.chunks) >= 2
    assert sum(chunk.lead for chunk in found.chunks) == 0
    assert found.threads == (1,)
    assert re.fullmatch(
        r"3 chunks of whole pieces of 100 frames: expected 0\.(8\d|90) of the time for the whole on 2 cores, with 0 frames decoded twice",
        found.reason,
    )


def test_deinterlacing_reads_from_an_earlier_key_frame() -> None:
    found = cut(film(FILM_S * 25, key=100, field_order="tt"), chunking=Chunking.ALWAYS)
    assert all(chunk.lead >= 2 for chunk in found.chunks[1:])


def test_one_core_gains_nothing_by_chunks() -> None:
    found = cut(film(FILM_S * 25, key=100), cores=1)
    assert found.is_whole
    assert found.threads == (1,)
    assert re.fullmatch(r"whole: 2 chunks would take 1\.\d\d of the time for the whole on 1 core", found.reason)


def test_a_ladder_runs_as_many_chunks_at_once_as_there_are_cores() -> None:
    found = cut(film(FILM_S * 25, key=100), "web-hls", cores=2)
    assert not found.is_whole
    assert (found.at_once, found.threads) == (2, (1, 1, 1, 1))
    assert "expected 0.9" in found.reason


def test_a_ladder_stays_whole_where_chunks_gain_too_little() -> None:
    """10 s with key frames 10 s apart: whatever is cut off is decoded from its beginning."""
    few = cut(film(250, key=250), "web-hls", cores=2)
    assert few.is_whole
    assert "would take 1.1" in few.reason


@pytest.mark.parametrize(
    ("cores", "threads"), [(1, (1, 1, 1, 1)), (2, (2, 1, 1, 1)), (4, (4, 2, 1, 1)), (16, (14, 7, 3, 2))]
)
def test_encoders_of_a_ladder_share_the_cores_by_their_pixels(cores: int, threads: tuple[int, ...]) -> None:
    """On each core, x264's own one and a half threads, and none without one: 1080p is 57 % of the pixels, 360p 6 %."""
    whole = cut(film(FILM_S * 25, key=100), "web-hls", cores=cores, chunking=Chunking.NEVER)
    assert whole.threads == threads


def test_a_rendition_alone_keeps_the_threads_that_its_encoder_chooses() -> None:
    assert cut(film(FILM_S * 25, key=100), chunking=Chunking.NEVER).threads == ()


def test_rare_key_frames_cost_more_than_chunks_gain() -> None:
    found = cut(film(FILM_S * 25, key=100_000))
    assert "would take" in found.reason
    assert not cut(film(FILM_S * 25, key=100_000), chunking=Chunking.ALWAYS).is_whole


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (replace(film(1500), formats=("mpegts",)), "a seek in mpegts is not exact"),
        (film(1500, exact_times=False), "the container keeps no presentation times"),
        (film(1500, hidden=3), "an edit list hides 3 frames"),
        (film(90), "it is not longer than one piece of 100 frames"),
        (film(100 + SHORTEST - 1), "it is not longer than one piece of 100 frames"),
        (film(1500, keyframes=(), key_decoding=()), "no key frame of the input lies where it could be cut"),
    ],
)
def test_what_is_not_proven_exact_stays_whole(probe: Probe, reason: str) -> None:
    assert cut(probe, chunking=Chunking.ALWAYS).reason == f"whole: {reason}"


def test_nothing_is_cut_before_the_first_picture() -> None:
    late = replace(film(1500, start=Fraction(30)), start=Fraction(0))
    found = cut(late, chunking=Chunking.ALWAYS)
    assert found.chunks[1].first >= 30 * 25


@pytest.mark.parametrize(("beyond", "lengths"), [(SHORTEST - 1, [100, 109]), (SHORTEST, [100, 100, 10])])
def test_a_chunk_has_more_frames_than_an_encoder_holds_back(beyond: int, lengths: list[int]) -> None:
    found = cut(film(200 + beyond, key=50), chunking=Chunking.ALWAYS)
    assert [chunk.frames for chunk in found.chunks] == lengths


def test_what_is_not_a_film_stays_whole() -> None:
    made = plan(named("thumbnails"), film(1500))
    assert split(made, film(1500), cores=8, chunking=Chunking.ALWAYS).is_whole
    generated = plan(named("mp4-h264"), None, parameters={"duration_s": 60})
    assert split(generated, None, cores=8, chunking=Chunking.ALWAYS).is_whole


def test_codecs_without_a_measured_gain_are_cut_on_demand_only() -> None:
    probe = film(1500)
    made = plan(profile_from(document("mp4", 4, 1, "h265")), probe)
    assert split(made, probe, cores=2).reason == "whole: what chunks gain is measured for h264 only"
    forced = split(made, probe, cores=2, chunking=Chunking.ALWAYS)
    assert len(forced.chunks) >= 2
    assert forced.threads == ()


def test_an_average_bit_rate_is_kept_over_the_whole_film() -> None:
    probe = film(1500)
    made = plan(profile_from(document("mp4", 4, 1, bitrate="2M")), probe)
    assert "average bit rate" in split(made, probe, cores=2, chunking=Chunking.ALWAYS).reason


def test_the_parameter_has_three_words() -> None:
    assert chunking_of({}) is Chunking.AUTO
    assert chunking_of({"chunks": "never"}) is Chunking.NEVER
    profile = named("mp4-h264")
    assert with_parameters(profile, {"chunks": "always"}) == (profile, None)
    with pytest.raises(ParameterError, match="chunks is 'maybe'; allowed: auto, always, never"):
        with_parameters(profile, {"chunks": "maybe"})


# The check of a joined output, and its proof -------------------------------------------------------------------------


def _joined(**facts: Any) -> tuple[Plan, Produced]:
    """A film of 300 frames in three chunks of 100, read back, with other facts where they are given."""
    probe = film(300, key=100)
    made = plan(profile_from(document("mp4", 4, 1)), probe)
    chunks = tuple(Chunk(number=n, first=n * 100, end=n * 100 + 100, seek=Fraction(n * 4) or None) for n in range(3))
    made = replace(made, split=Split(chunks=chunks, reason="three"))
    stream = film(300, key=100, width=640, height=360, gops=(100, 100, 100)).video[0]
    back = Probe(formats=("mov", "mp4"), duration=Fraction(12), video=(replace(stream, **facts),))
    return made, Produced(probes={"video.mp4": back}, sizes={"video.mp4": 1000})


def _texts(**facts: Any) -> list[str]:
    return [finding.text for finding in check(*_joined(**facts))]


def test_a_right_join_is_proven() -> None:
    assert _texts() == []


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"gops": (100, 99, 101)}, "has 99 frames from chunk 1; planned: 100"),
        ({"backsteps": (Fraction(4),)}, "goes back in time at 4.000 s"),
        ({"is_vfr": True}, "has frames that do not lie on the grid of its rate"),
        ({"frames": 299, "gops": (100, 100, 99)}, "has 299 frames; planned: 300"),
        ({"keyframes": (Fraction(0), Fraction(4)), "gops": (100, 200)}, "has 0 frames from chunk 2; planned: 100"),
    ],
)
def test_a_wrong_join_is_found(facts: dict[str, Any], text: str) -> None:
    assert any(one.startswith(text) for one in _texts(**facts))


def test_the_proof_shows_chunks_joins_and_sums() -> None:
    made, produced = _joined()
    shown: Any = with_checksums(proof(made, produced, {"one": "ab"}), {"video.mp4": "cd"}, produced.sizes)
    assert [chunk["frames"] for chunk in shown["chunks"]] == [100, 100, 100]
    (video,) = shown["files"]
    assert video["frames"] == {"planned": 300, "found": 300}
    assert video["frames_of_chunks"] == [100, 100, 100]
    assert video["header_sha256"] == "ab"
    assert video["joins"] == [
        {"frame": 100, "at_s": 4.0, "off_by_s": 0.0},
        {"frame": 200, "at_s": 8.0, "off_by_s": 0.0},
    ]
    assert shown["checksums"] == {"video.mp4": {"sha256": "cd", "size": 1000}}


def shared(probe: Probe, *, helpers: int, chunking: Chunking = Chunking.AUTO, each: int = PER_WORKER) -> Split:
    made = plan(named("mp4-h264"), probe)
    return split(made, probe, cores=2, chunking=chunking, helpers=helpers, each=each)


def test_a_long_film_is_shared_by_all_who_have_time() -> None:
    alone = shared(film(FILM_S * 25 * 10, key=100), helpers=0)
    assert alone.workers == 0
    assert alone.is_possible
    parts = []
    for helpers in (1, 3, 9):
        found = shared(film(FILM_S * 25 * 10, key=100), helpers=helpers)
        assert found.workers == helpers + 1
        assert helpers + 1 <= len(found.chunks) <= (helpers + 1) * PER_WORKER
        assert (found.at_once, found.threads) == (1, (3,))
        part = re.search(r"expected (0\.\d\d) of the time on one", found.reason)
        assert part is not None, found.reason
        parts.append(float(part[1]))
    assert parts == sorted(parts, reverse=True)
    assert parts[-1] < 0.2


def test_what_several_workers_gain_too_little_of_stays_on_one() -> None:
    found = shared(film(150, key=100), helpers=5)
    assert found.workers == 0
    assert "workers it would take" in found.reason
    asked_for = shared(film(150, key=100), helpers=5, chunking=Chunking.ALWAYS)
    assert (asked_for.workers, len(asked_for.chunks)) == (2, 2)


def test_whoever_has_to_fetch_the_film_gets_one_part_of_it() -> None:
    found = shared(film(FILM_S * 25 * 10, key=100), helpers=3, each=1)
    assert len(found.chunks) <= 4


@pytest.mark.parametrize("chunking", [Chunking.AUTO, Chunking.ALWAYS, Chunking.NEVER])
def test_what_is_not_cut_is_not_shared(chunking: Chunking) -> None:
    probe = replace(film(FILM_S * 250), formats=("mpegts",)) if chunking is not Chunking.NEVER else film(FILM_S * 250)
    found = shared(probe, helpers=9, chunking=chunking)
    assert (found.is_possible, found.workers, found.is_whole) == (False, 0, True)


@settings(deadline=None)
@given(
    frames=st.integers(60, 50_000),
    key=st.integers(1, 400),
    helpers=st.integers(1, 300),
    each=st.integers(1, PER_WORKER),
)
def test_every_frame_is_in_exactly_one_part_whoever_helps(frames: int, key: int, helpers: int, each: int) -> None:
    found = shared(film(frames, key=key), helpers=helpers, chunking=Chunking.ALWAYS, each=each)
    if not found.workers:
        return
    assert len(found.chunks) <= MOST_PARTS
    assert found.workers <= len(found.chunks)
    assert (found.chunks[0].first, found.chunks[0].seek, found.chunks[-1].end) == (0, None, frames)
    assert all(one.end == other.first for one, other in pairwise(found.chunks))


def test_a_plan_comes_back_from_its_document() -> None:
    for name in ("web-hls", "mp4-h264"):
        probe = film(FILM_S * 25, Fraction(30000, 1001), key=30)
        made = with_split(plan(named(name), probe), probe, cores=2, chunking=Chunking.ALWAYS, helpers=3)
        assert made.split.workers
        assert plan_from(json.loads(json.dumps(to_document(made)))) == made


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("files", 0, "path"), "../../etc/passwd"),
        (("files", 0, "path"), "/etc/passwd"),
        (("files", 0, "path"), "a/-o"),
        (("files", 0, "video", "name"), "../up"),
        (("duration",), "1e999999999"),
        (("duration",), "1/0"),
        (("split", "chunks", 0, "first"), "zero"),
        (("packaging",), "tar"),
    ],
)
def test_a_plan_that_leads_elsewhere_is_refused(where: tuple[Any, ...], value: str) -> None:
    probe = film(FILM_S * 25, key=30)
    document = json.loads(
        json.dumps(to_document(with_split(plan(named("mp4-h264"), probe), probe, cores=2, helpers=3)))
    )
    inner = document
    for step in where[:-1]:
        inner = inner[step]
    inner[where[-1]] = value
    with pytest.raises(PlanError, match=r"^cannot follow the plan"):
        plan_from(document)
