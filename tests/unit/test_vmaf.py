"""What is kept of the scores of frames, at which size they are made, and what a floor says."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.media.ladder import Size
from millrace.domain.media.outputs import VideoOutput
from millrace.domain.media.profile import VideoSettings, VmafCheck
from millrace.domain.media.vmaf import measure, pooled, shortfalls
from millrace.engines.engine import EngineFailure
from millrace.engines.ffmpeg.vmaf_log import read_scores

RATE = Fraction(25)


def video(width: int = 1920, height: int = 1080, frames: int = 100, **floors: Any) -> VideoOutput:
    return VideoOutput(
        name="v",
        size=Size(width=width, height=height),
        rate=RATE,
        frames=frames,
        gop_frames=50,
        settings=VideoSettings(),
        vmaf=VmafCheck(**floors),
    )


@given(st.lists(st.floats(0, 100), min_size=1, max_size=500))
def test_the_means_lie_between_the_worst_and_the_best(values: list[float]) -> None:
    found = pooled(list(enumerate(values)), RATE)
    slack = 0.002
    assert min(values) - slack <= found.one_percent_low <= found.mean + slack
    assert min(values) - slack <= found.harmonic_mean <= found.mean + slack <= max(values) + 2 * slack
    assert abs(found.worst.vmaf - min(values)) <= slack
    assert values[found.worst.frame] == min(values)
    # Nearest rank: no more than one of a hundred frames lies below.
    assert sum(value < found.one_percent_low - slack for value in values) <= len(values) / 100


def test_known_scores() -> None:
    found = pooled([(number * 5, 90.0 + (number == 3) * -60) for number in range(200)], RATE)
    assert (found.frames, found.mean, found.one_percent_low) == (200, 89.7, 90.0)
    assert found.harmonic_mean == pytest.approx(200 / (199 / 91 + 1 / 31) - 1, abs=0.001)
    assert (found.worst.frame, found.worst.at_s, found.worst.vmaf) == (15, 0.6, 30.0)


def test_no_frames_have_no_quality() -> None:
    with pytest.raises(ValueError, match="cannot pool"):
        pooled([], RATE)


@pytest.mark.parametrize(
    ("size", "compared", "model"),
    [
        ((1920, 1080), (1920, 1080), "vmaf_v0.6.1"),
        ((640, 360), (1920, 1080), "vmaf_v0.6.1"),
        ((1080, 1920), (1080, 1920), "vmaf_v0.6.1"),
        ((720, 576), (1350, 1080), "vmaf_v0.6.1"),
        ((1920, 800), (1920, 800), "vmaf_v0.6.1"),
        ((2560, 1440), (3840, 2160), "vmaf_4k_v0.6.1"),
        ((7680, 4320), (3840, 2160), "vmaf_4k_v0.6.1"),
    ],
)
def test_pictures_are_compared_at_the_size_of_the_models_screen(
    size: tuple[int, int], compared: tuple[int, int], model: str
) -> None:
    found = measure(video(*size))
    assert ((found.size.width, found.size.height), found.model) == (compared, model)


@pytest.mark.parametrize(
    ("frames", "every", "compared"), [(1, 1, 1), (1499, 1, 1499), (1500, 3, 500), (3000, 5, 600), (10**6, 7, 142_858)]
)
def test_long_films_are_compared_by_samples(frames: int, every: int, compared: int) -> None:
    found = measure(video(frames=frames))
    assert (found.every, found.frames_of(frames)) == (every, compared)
    assert measure(video(frames=frames, every=7)).every == 7
    assert measure(video(frames=frames, every=7), every=2).every == 2


def test_each_floor_that_does_not_hold_is_named_with_the_worst_moment() -> None:
    found = pooled([(number, 80.0 - number) for number in range(10)], RATE)
    assert shortfalls(video(), found) == ()
    assert shortfalls(video(min_mean=75, min_harmonic_mean=75, min_one_percent_low=71), found) == ()
    (text,) = shortfalls(video(min_mean=75.6, min_one_percent_low=71), found)
    assert text == "has a VMAF of 75.50 (mean); wanted: at least 75.6 (worst at 0.36 s: 71.0)"
    assert len(shortfalls(video(min_mean=99, min_harmonic_mean=99, min_one_percent_low=99), found)) == 3


def test_the_log_of_libvmaf_is_read() -> None:
    log = b'{"version":"3.0.0","fps":30.1,"frames":[{"frameNum":0,"metrics":{"integer_adm2":0.9,"vmaf":97.4}},{"frameNum":5,"metrics":{"vmaf":88}}],"pooled_metrics":{},"aggregate_metrics":{}}'
    assert read_scores(log) == ((0, 97.4), (5, 88.0))


@pytest.mark.parametrize(
    "log", [b"", b"{", b"[]", b'{"frames":[{"frameNum":0,"metrics":{}}]}', b'{"frames":[{"metrics":{"vmaf":1}}]}']
)
def test_what_is_no_log_of_libvmaf_is_refused(log: bytes) -> None:
    with pytest.raises(EngineFailure, match="cannot read what the comparison found"):
        read_scores(log)
