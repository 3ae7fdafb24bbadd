"""VMAF, rate control and probe encodes with the real FFmpeg on tiny clips."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from conftest import Bench, Made, ffmpeg

from millrace.domain.media.plan import plan
from millrace.domain.media.profile import Profile
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.samples import ProbeEncode, pieces, with_crf
from millrace.domain.media.vmaf import Quality, measure, pooled

SECONDS = 8
NOISY = (
    *("-f", "lavfi", "-i", f"testsrc2=s=160x90:r=25:d={SECONDS}", "-vf", "noise=alls=6:allf=t"),
    *("-c:v", "libx264", "-preset", "ultrafast", "-qp", "10"),
)
"""Moving bars with noise, long enough that a rate can be kept."""


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("noisy") / "noisy.mkv"
    ffmpeg(*NOISY, str(path))
    return path


def profile(*videos: dict[str, Any], packaging: str = "mkv", audio: str = "opus", **document: Any) -> Profile:
    rungs = [{"name": f"r{number}", "video": video} for number, video in enumerate(videos)]
    base = {"name": "t", "packaging": packaging, "renditions": rungs, "audio": [{"codec": audio}], "segment_s": 1}
    return profile_from({**base, "checks": {"vmaf": {"every": 10}}, **document})


def quality(bench: Bench, made: Made, source: Path, number: int = 0) -> Quality:
    work = made.folder.with_name(made.folder.name + ".quality")
    file = made.plan.files[number]
    assert file.video
    bench.must(bench.engine.compare(made.plan, file, source=source, folder=made.folder, work=work, cores=1))
    scores = bench.engine.read_scores((work / bench.engine.scores(file.video.name)).read_bytes())
    how = measure(file.video)
    assert [frame for frame, _ in scores] == list(range(0, made.produced.probes[file.path].video[0].frames, how.every))
    return pooled(scores, file.video.rate)


GOOD = {"preset": "ultrafast", "crf": 8}


@pytest.mark.parametrize(
    ("name", "video"),
    [
        ("variable.mp4", GOOD),
        ("interlaced.mp4", GOOD),
        ("late_video.mkv", GOOD),
        ("transport.ts", GOOD),
        ("turned.mp4", GOOD),
        ("ten_bit.mp4", {"codec": "h265", "preset": "ultrafast", "crf": 8, "bit_depth": 10}),
    ],
)
def test_a_good_encode_of_any_source_compares_frame_by_frame(
    bench: Bench, clips: Callable[[str], Path], tmp_path: Path, name: str, video: dict[str, Any]
) -> None:
    """One frame off, another clock, another range or another turn would cost tens of points here."""
    source = clips(name)
    made = bench.make(profile(video), source, tmp_path / "out")
    assert made.findings == ()
    assert quality(bench, made, source).one_percent_low > 90


def test_playlists_are_compared_and_chunks_as_well(bench: Bench, clips: Callable[[str], Path], tmp_path: Path) -> None:
    rungs = ({"height": 72, **GOOD}, {"height": 36, **GOOD})
    wanted = profile(*rungs, packaging="cmaf", audio="aac")
    made = bench.make(wanted, clips("plain.mp4"), tmp_path / "out", chunks="always")
    assert not made.plan.split.is_whole
    large, small = (quality(bench, made, clips("plain.mp4"), number) for number in range(2))
    assert large.one_percent_low > 90
    assert small.mean < large.mean - 10, "what a smaller rendition leaves out is seen at the size of the screen"


def test_high_dynamic_range_that_is_kept_is_compared_after_tone_mapping(
    bench: Bench, clips: Callable[[str], Path], tmp_path: Path
) -> None:
    wanted = profile({"codec": "h265", "preset": "ultrafast", "crf": 8}, hdr="keep")
    made = bench.make(wanted, clips("grey_hdr.mp4"), tmp_path / "out")
    assert quality(bench, made, clips("grey_hdr.mp4")).one_percent_low > 90


def test_a_rendition_of_other_pictures_is_found(bench: Bench, clips: Callable[[str], Path], tmp_path: Path) -> None:
    """The same film, one frame late: what a seek that is off by one would make."""
    late = tmp_path / "late.mkv"
    delayed = ("-vf", "tpad=start=1:start_mode=clone,trim=end_frame=50", "-c:v", "libx264", "-qp", "4", "-c:a", "copy")
    ffmpeg("-i", str(clips("plain.mp4")), *delayed, str(late))
    made = bench.make(profile(GOOD), clips("plain.mp4"), tmp_path / "out")
    right = quality(bench, made, clips("plain.mp4"))
    assert quality(bench, made, late).mean < right.mean - 5


def test_a_4k_rendition_takes_the_model_for_4k(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "4k.mkv"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=2560x1440:r=25:d=0.2", "-c:v", "libx264", "-preset", "ultrafast", str(source)
    )
    made = bench.make(profile(GOOD), source, tmp_path / "out")
    assert measure(made.plan.videos[0]).model == "vmaf_4k_v0.6.1"
    assert quality(bench, made, source).mean > 90


def test_a_generated_clip_is_compared_with_itself(bench: Bench, tmp_path: Path) -> None:
    document = {"width": 128, "height": 72}
    made = bench.make(profile(GOOD, generate=document), None, tmp_path / "out", duration_s=1)
    work = tmp_path / "work"
    bench.must(bench.engine.compare(made.plan, made.plan.files[0], source=None, folder=made.folder, work=work, cores=1))
    scores = bench.engine.read_scores((work / bench.engine.scores("r0")).read_bytes())
    assert pooled(scores, Fraction(30)).mean > 90


PRESET = {"h264": "veryfast", "h265": "ultrafast", "av1": "11", "vp9": "8"}
RATE_BPS = 150_000


def rate_of(made: Made, name: str = "video.mkv") -> float:
    """Of the wanted rate, what the file has."""
    return made.produced.sizes[name] * 8 / SECONDS / RATE_BPS


@pytest.mark.parametrize(
    ("codec", "settings"),
    [
        ("h264", {"bitrate": RATE_BPS, "passes": 2}),
        ("h264", {"bitrate": RATE_BPS, "mode": "cbr"}),
        ("h265", {"bitrate": RATE_BPS, "passes": 2}),
        ("h265", {"bitrate": RATE_BPS, "mode": "cbr"}),
        ("av1", {"bitrate": RATE_BPS, "mode": "cbr"}),
        ("vp9", {"bitrate": RATE_BPS, "mode": "cbr"}),
        # Without a bound these CRFs take 1.6 to 4.3 times as much.
        ("h264", {"crf": 20, "maxrate": RATE_BPS}),
        ("h265", {"crf": 20, "maxrate": RATE_BPS}),
        ("av1", {"crf": 20, "maxrate": RATE_BPS}),
        ("vp9", {"crf": 20, "maxrate": RATE_BPS}),
    ],
)
def test_the_rate_lands_where_it_should(
    bench: Bench, noisy: Path, tmp_path: Path, codec: str, settings: dict[str, Any]
) -> None:
    made = bench.make(profile({"codec": codec, "preset": PRESET[codec], **settings}), noisy, tmp_path / "out")
    assert made.findings == ()
    # The buffer of a player is full at the beginning, so a short clip may have a part of it on top.
    assert 0.9 < rate_of(made) < (1.5 if "maxrate" in settings else 1.15)


def test_a_constant_rate_is_constant(bench: Bench, noisy: Path, tmp_path: Path) -> None:
    """Bars that stand still need next to nothing, and get their bits all the same."""
    still = tmp_path / "still.mkv"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"smptebars=s=160x90:r=25:d={SECONDS}",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        str(still),
    )
    rates = [
        rate_of(bench.make(profile({"preset": "veryfast", "bitrate": RATE_BPS, "mode": mode}), still, tmp_path / mode))
        for mode in ("vbr", "cbr")
    ]
    assert rates[0] < 0.5
    assert 0.9 < rates[1] < 1.15


def test_two_passes_of_several_renditions_beside_others(
    bench: Bench, clips: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each finds its own first pass, although streams of sound and a rendition of one pass lie between."""
    twice = {"passes": 2, "bitrate": 40_000}
    rungs = (
        {"height": 72, "preset": "ultrafast", **twice},
        {"height": 54, "preset": "ultrafast", "crf": 30},
        {"codec": "vp9", "height": 36, "preset": 8, **twice},
    )
    made = bench.make(profile(*rungs), clips("plain.mp4"), tmp_path / "out")
    assert made.findings == ()
    assert {path.name for path in (tmp_path / "out.pieces").iterdir()} >= {"r0.pass-0.log", "r2.pass-4.log"}


@pytest.mark.parametrize("name", ["plain.mp4", "transport.ts", "no_presentation_times.avi"])
def test_a_probe_compares_the_frames_that_it_encoded(
    bench: Bench, clips: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    probe = bench.probe(clips(name))
    made = plan(profile({"preset": "ultrafast", "quality": {"vmaf": 90}}, gop_s=0.5), probe)
    last = pieces(made, probe)[-1]
    found = []
    for crf in (8, 45):
        one = with_crf(made.videos[0], crf)
        how = measure(one, every=5)
        commands = bench.engine.probe_encode(
            made, ProbeEncode(video=one, piece=last, measure=how), clips(name), tmp_path
        )
        for command in commands:
            bench.must(command)
        log = tmp_path / bench.engine.scores(f"r0-crf-{crf}-{last.number}")
        scores = bench.engine.read_scores(log.read_bytes())
        assert len(scores) == how.frames_of(last.frames)
        found.append(pooled(scores, one.rate).mean)
    assert found[0] > 90
    assert found[1] < found[0] - 10
