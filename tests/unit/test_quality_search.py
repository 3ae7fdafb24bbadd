"""The search for a CRF: whatever the curve, it stays within its bounds and its budget, and keeps what it promises."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import exp
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.media.plan import plan, plan_generated
from millrace.domain.media.plan_document import plan_from, to_document
from millrace.domain.media.probe import Probe, VideoStream
from millrace.domain.media.profile import CRF_STEP, MAX_CRF, QualityTarget, Unreachable, VideoCodec
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.quality_search import Choice, Search, Trial, choice, next_crf, refuses
from millrace.domain.media.samples import MOST, pieces, search_for, with_choices

Curve = Callable[[float], float]


def wanted(vmaf: float = 93, codec: VideoCodec = VideoCodec.H264, **fields: Any) -> Search:
    bounds = {"min_crf": 12.0, "max_crf": MAX_CRF[codec] - 6.0, "probes": 4}
    ceiling = fields.pop("ceiling_bps", None)
    return Search(
        codec=codec,
        target=QualityTarget(vmaf=vmaf, **{**bounds, **fields}),
        ceiling_bps=ceiling,
        ceiling="max_bitrate of 1,000 kbit/s" if ceiling else "",
    )


def run(search: Search, vmaf: Curve, rate: Curve = lambda crf: 8e6 * exp(-0.12 * crf)) -> Choice:
    trials: list[Trial] = []
    while (crf := next_crf(search, trials)) is not None:
        assert crf not in [one.crf for one in trials], "nothing is probed twice"
        trials.append(Trial(crf=crf, vmaf=vmaf(crf), bitrate_bps=round(rate(crf))))
    return choice(search, trials)


@st.composite
def curves(draw: Any) -> Curve:
    """Falling curves as films have them: level near 100, then steeper and steeper."""
    knee = draw(st.floats(5, 45))
    bend = draw(st.floats(1, 2))
    # VMAF does not fall by more than some points for one CRF.
    steepness = draw(st.floats(0.05, 2 if bend < 1.5 else 0.5))
    top = draw(st.floats(70, 100))
    return lambda crf: max(0.0, top - steepness * max(0.0, crf - knee) ** bend)


@st.composite
def searches(draw: Any) -> Search:
    codec = draw(st.sampled_from(VideoCodec))
    low = draw(st.integers(0, MAX_CRF[codec] - 1))
    return wanted(
        draw(st.floats(10, 99)),
        codec,
        min_crf=float(low),
        max_crf=float(draw(st.integers(low, MAX_CRF[codec]))),
        probes=draw(st.integers(2, 8)),
        ceiling_bps=draw(st.none() | st.integers(10_000, 20_000_000)),
    )


@given(search=searches(), vmaf=curves(), fall=st.floats(0.02, 0.3))
def test_any_search_stays_within_its_bounds_and_its_budget(search: Search, vmaf: Curve, fall: float) -> None:
    found = run(search, vmaf, lambda crf: 2e7 * exp(-fall * crf))
    assert 1 <= len(found.trials) <= search.target.probes
    for crf in (found.crf, *(one.crf for one in found.trials)):
        assert search.target.min_crf <= crf <= search.target.max_crf
        assert (crf - search.target.min_crf) % CRF_STEP[search.codec] == 0
    probed = [one for one in found.trials if one.crf == found.crf]
    assert all(abs(one.vmaf - found.vmaf) < 0.01 for one in probed), "what was probed is expected"
    assert found.shortfall or found.vmaf >= search.target.vmaf - 0.005


@given(search=searches(), vmaf=curves(), fall=st.floats(0.02, 0.3))
def test_a_choice_without_shortfall_keeps_the_bound_on_the_rate_where_it_was_probed(
    search: Search, vmaf: Curve, fall: float
) -> None:
    def rate(crf: float) -> float:
        return 2e7 * exp(-fall * crf)

    found = run(search, vmaf, rate)
    if not found.shortfall and search.ceiling_bps and found.crf in [one.crf for one in found.trials]:
        assert rate(found.crf) <= search.ceiling_bps + 1


@given(vmaf=curves(), target=st.floats(60, 96))
def test_with_probes_enough_the_answer_is_good_and_no_coarser_than_the_gap_between_probes(
    vmaf: Curve, target: float
) -> None:
    search = wanted(target, probes=8)
    found = run(search, vmaf)
    if found.shortfall:
        assert vmaf(search.target.min_crf) < target
        assert found.crf == search.target.min_crf
    elif len(found.trials) < 8:
        # Between two near probes the line is below a curve that bends down, so the truth is no worse than what is expected.
        assert vmaf(found.crf) >= target - 0.01
        worse = [one.crf for one in found.trials if one.vmaf < target]
        assert found.crf == search.target.max_crf or min(worse) > found.crf, "what is not good enough is known"


@given(
    points=st.lists(st.tuples(st.integers(24, 90), st.floats(0, 100), st.integers(1000, 10**8)), min_size=1, max_size=8)
)
def test_noise_never_makes_a_worse_encode_look_better(points: list[tuple[int, float, int]]) -> None:
    trials = [
        Trial(crf=half / 2, vmaf=vmaf, bitrate_bps=rate) for half, vmaf, rate in {p[0]: p for p in points}.values()
    ]
    for target in range(10, 99, 8):
        found = choice(wanted(target), trials)
        finer = [one.vmaf for one in trials if one.crf <= found.crf]
        assert found.vmaf <= min(finer, default=100) + 0.01


def straight(crf: float) -> float:
    return 118 - crf * 1.2


def test_a_usual_film_takes_two_probes() -> None:
    found = run(wanted(93), straight)
    assert (found.crf, len(found.trials)) == (20.5, 2)
    assert found.note.startswith("CRF 20.5 is taken, which is expected to give VMAF 93.4 at ")
    assert found.evidence.startswith("2 probes of 0 frames: CRF 22 gave 91.60 at ")


def test_the_bound_on_the_rate_is_told_where_it_keeps_the_quality_down() -> None:
    found = run(wanted(93, ceiling_bps=200_000), straight)
    assert found.crf > 20.5
    assert found.bitrate_bps <= 200_000
    assert found.shortfall == "max_bitrate of 1,000 kbit/s allows no better quality"


def test_what_min_crf_does_not_reach_is_told_and_refused_where_the_profile_says_so() -> None:
    search = wanted(99, min_crf=20.0)
    found = run(search, straight)
    assert found.crf == 20
    assert found.shortfall == "min_crf 20 allows no better quality"
    assert not refuses(search, found)
    strict = wanted(99, min_crf=20.0, unreachable=Unreachable.REFUSE)
    assert refuses(strict, run(strict, straight))
    assert not refuses(strict, run(wanted(90), straight))


def test_a_rate_that_nothing_keeps_is_told() -> None:
    found = run(wanted(93, ceiling_bps=10_000), straight)
    assert found.crf == 45
    assert found.shortfall == "even max_crf 45 takes more than max_bitrate of 1,000 kbit/s"


def film(frames: int, codec: str = "h264", size_bytes: int | None = None, formats: tuple[str, ...] = ("mp4",)) -> Probe:
    rate = Fraction(25)
    keys = tuple(Fraction(number, 2) for number in range(frames // 12))
    stream = VideoStream(
        index=0, codec=codec, width=1280, height=720, frame_rate=rate, frames=frames, end=frames / rate, keyframes=keys,
        key_decoding=keys,
    )  # fmt: skip
    return Probe(formats=formats, duration=frames / rate, size_bytes=size_bytes, video=(stream,))


def target(packaging: str = "mp4", checks: Any = None, **video: Any) -> Any:
    settings = {"codec": "h264", "quality": {"vmaf": 93}, **video}
    return profile_from(
        {
            "name": "t",
            "packaging": packaging,
            "renditions": [{"video": settings}],
            "checks": checks,
            "gop_s": 2,
            "segment_s": 4,
        }
    )


@given(frames=st.integers(1, 300_000), gop_s=st.sampled_from((0.1, 1, 4, 30)))
def test_pieces_lie_apart_within_the_film_and_are_few(frames: int, gop_s: float) -> None:
    document = {"name": "t", "packaging": "mp4", "renditions": [{"video": {}}], "gop_s": gop_s}
    made = plan(profile_from(document), film(frames))
    found = pieces(made, None)
    assert 1 <= len(found) <= MOST
    assert all(0 <= piece.first < piece.end <= made.frames for piece in found)
    assert all(earlier.end <= later.first for earlier, later in pairwise(found))
    assert all(piece.first % made.videos[0].gop_frames == 0 for piece in found)
    if len(found) > 1:
        assert sum(piece.frames for piece in found) * 2 <= made.frames


def test_pieces_begin_where_chunks_could_and_early_where_a_seek_is_not_exact() -> None:
    made = plan(target(), film(25 * 600))
    exact = pieces(made, film(25 * 600))
    assert [piece.first for piece in exact] == [1500 * number + 700 for number in range(10)]
    assert [piece.frames for piece in exact] == [50] * 10
    assert all(float(piece.first / 25 - 0.2) < float(piece.seek or 0) <= piece.first / 25 + 0.02 for piece in exact)
    early = pieces(made, film(25 * 600, formats=("mpegts",)))
    assert [float(a.seek - b.seek) for a, b in zip(exact, early, strict=True) if a.seek and b.seek] == [10.0] * 10
    assert all(piece.seek is None for piece in pieces(plan_generated(target()), None))


@pytest.mark.parametrize(
    ("codec", "source", "height", "ceiling"),
    [
        ("h264", "h264", None, 4_000_000),
        ("h265", "h264", None, 4_000_000),
        ("h264", "hevc", None, None),
        ("h264", "prores", None, None),
        ("h264", "h264", 360, None),
    ],
)
def test_more_than_the_source_has_is_never_spent_where_that_makes_sense(
    codec: str, source: str, height: int | None, ceiling: int | None
) -> None:
    probe = film(250, source, size_bytes=5_000_000)
    made = plan(target(codec=codec, height=height), probe)
    assert search_for(made, made.videos[0], probe).ceiling_bps == ceiling


def test_the_lower_of_two_bounds_counts() -> None:
    probe = film(250, size_bytes=5_000_000)
    made = plan(target(quality={"vmaf": 93, "max_bitrate": "3M"}), probe)
    found = search_for(made, made.videos[0], probe)
    assert (found.ceiling_bps, found.ceiling) == (3_000_000, "max_bitrate of 3,000 kbit/s")


def test_choices_become_the_crf_of_their_renditions_also_for_other_workers() -> None:
    made = plan(target(checks={"vmaf": {"min_mean": 90}}), film(250))
    found = run(wanted(93), straight)
    chosen = with_choices(made, {"source": found})
    assert plan_from(to_document(chosen)) == chosen
    (video,) = chosen.videos
    assert video.search == found
    assert (video.settings.crf, video.settings.quality) == (20.5, made.videos[0].settings.quality)
