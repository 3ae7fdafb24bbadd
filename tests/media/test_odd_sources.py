"""Every odd property of a source ends in a correct, checked output."""

import subprocess
from fractions import Fraction
from typing import Any

import pytest
from conftest import BINARY, pixels

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.profile_document import profile_from


def profile(packaging: str = "cmaf", **changes: Any) -> Any:
    rung = {"codec": "h264", "preset": "ultrafast"}
    document: dict[str, Any] = {
        "name": "test",
        "packaging": packaging,
        "segment_s": 1,
        "renditions": [{"video": {**rung, "height": 144}}, {"video": {**rung, "height": 36}}],
        "audio": [{"codec": "aac"}],
    }
    return profile_from({**document, **changes})


def one(packaging: str = "mp4", **changes: Any) -> Any:
    return profile(packaging, renditions=[{"video": {"codec": "h264", "preset": "ultrafast"}}], **changes)


@pytest.mark.parametrize(
    "name",
    [
        "plain.mp4", "anamorphic.mp4", "odd.mkv", "variable.mp4", "ten_bit.mp4", "ntsc.mp4", "interlaced.mp4", "surround.mkv",
        "late_audio.mp4", "late_video.mkv", "transport.ts", "hdr.mp4", "turned.mp4", "subtitled.mkv", "covered.mp4", "no_presentation_times.avi",
    ],
)  # fmt: skip
def test_a_ladder_of_it_is_proven(bench: Any, clips: Any, tmp_path: Any, name: str) -> None:
    made = bench.make(profile(subtitles="convert"), clips(name), tmp_path)
    assert made.findings == ()
    assert "master.m3u8" in made.finished
    # The frames that the check counted in packets are really decodable, every one.
    first = made.plan.files[0].path
    decoded = subprocess.run(
        [
            BINARY,
            "-nostdin",
            "-v",
            "error",
            "-xerror",
            "-i",
            str(tmp_path / first),
            "-f",
            "framecrc",
            "-map",
            "0:v",
            "-",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sum(line[0].isdigit() for line in decoded.stdout.splitlines()) == made.produced.probes[first].video[0].frames


def test_a_turned_picture_is_made_upright(bench: Any, clips: Any, tmp_path: Any) -> None:
    # Shown turned clockwise, the white upper left quarter comes to stand at the upper right.
    made = bench.make(one(), clips("turned.mp4"), tmp_path)
    assert made.findings == ()
    assert made.probe.video[0].rotation_degrees == 90
    video = made.produced.probes["video.mp4"].video[0]
    assert (video.width, video.height, video.rotation_degrees) == (72, 128, 0)
    upper_left, upper_right, lower_left, lower_right = pixels(tmp_path / "video.mp4", 2, 2)
    assert upper_right > 180
    assert max(upper_left, lower_left, lower_right) < 60


def test_pixels_become_square(bench: Any, clips: Any, tmp_path: Any) -> None:
    made = bench.make(one(), clips("anamorphic.mp4"), tmp_path)
    video = made.produced.probes["video.mp4"].video[0]
    assert (video.width, video.height, video.sar) == (170, 72, 1)


def test_a_variable_rate_is_kept_in_step(bench: Any, clips: Any, tmp_path: Any) -> None:
    made = bench.make(one(), clips("variable.mp4"), tmp_path)
    source = made.probe.video[0]
    assert source.is_vfr
    assert made.plan.pictures.rate == 30
    # Frame 21 of the source stands at 0.7 s: the output shows the same picture there.
    difference = [
        abs(a - b)
        for a, b in zip(
            *(pixels(path, 16, 9, 0.7) for path in (clips("variable.mp4"), tmp_path / "video.mp4")), strict=True
        )
    ]
    assert max(difference) < 24


def test_a_fractional_rate_stays_exact_in_every_rendition(bench: Any, clips: Any, tmp_path: Any) -> None:
    made = bench.make(profile(), clips("ntsc.mp4"), tmp_path)
    assert made.probe.video[0].frame_rate == Fraction(30000, 1001)
    assert made.probe.video[0].frames == 150
    times = [made.produced.probes[file.path].video[0].keyframes for file in made.plan.files if file.video]
    assert times[0] == times[1]
    assert [time - 10 for time in times[0]] == [Fraction(number * 1001, 1000) for number in range(5)]
    assert b"FRAME-RATE=29.970" in made.finished["master.m3u8"]


def test_late_audio_stays_late(bench: Any, clips: Any, tmp_path: Any) -> None:
    made = bench.make(one(), clips("late_audio.mp4"), tmp_path)
    assert made.findings == ()
    assert float(made.probe.audio[0].start) == pytest.approx(0.5, abs=0.03)
    loud = subprocess.run(
        [
            *(BINARY, "-nostdin", "-v", "error", "-i", str(tmp_path / "video.mp4"), "-map", "0:a"),
            *("-ac", "1", "-ar", "8000", "-f", "s16le", "-"),
        ],
        capture_output=True,
        check=True,
    ).stdout
    samples = memoryview(loud).cast("h")
    first = next(number for number, sample in enumerate(samples) if abs(sample) > 1000)
    assert first / 8000 == pytest.approx(0.5, abs=0.03)


def test_surround_becomes_stereo_or_stays(bench: Any, clips: Any, tmp_path: Any) -> None:
    stereo = bench.make(one(), clips("surround.mkv"), tmp_path / "stereo")
    assert stereo.produced.probes["video.mp4"].audio[0].channels == 2
    surround = bench.make(one(audio=[{"codec": "aac", "channels": 6}]), clips("surround.mkv"), tmp_path / "surround")
    assert surround.findings == ()
    assert surround.produced.probes["video.mp4"].audio[0].channels == 6


def combing(path: Any) -> int:
    """How much the rows of a picture differ from the mean of their neighbours: what fields shot apart look like."""
    width, height = 128, 72
    luma = pixels(path, width, height, 1.0)
    rows = [luma[number * width : (number + 1) * width] for number in range(height)]
    triples = zip(rows, rows[1:], rows[2:], strict=False)
    return sum(abs(2 * b - a - c) for above, here, below in triples for a, b, c in zip(above, here, below, strict=True))


def test_fields_are_deinterlaced(bench: Any, clips: Any, tmp_path: Any) -> None:
    made = bench.make(one(), clips("interlaced.mp4"), tmp_path)
    assert made.findings == ()
    assert not made.produced.probes["video.mp4"].video[0].interlaced
    assert combing(tmp_path / "video.mp4") < 0.8 * combing(clips("interlaced.mp4"))


def test_late_pictures_begin_with_the_sound(bench: Any, clips: Any, tmp_path: Any) -> None:
    made = bench.make(one(), clips("late_video.mkv"), tmp_path)
    assert made.findings == ()
    # Half a second of the first picture stands before the 50 of the source.
    assert made.produced.probes["video.mp4"].video[0].frames == 50 + 13
    assert made.produced.probes["video.mp4"].video[0].start == 0


def test_ten_bits_become_eight_or_stay(bench: Any, clips: Any, tmp_path: Any) -> None:
    eight = bench.make(one(), clips("ten_bit.mp4"), tmp_path / "eight")
    assert (eight.probe.video[0].bit_depth, eight.produced.probes["video.mp4"].video[0].bit_depth) == (10, 8)
    kept = profile("mp4", renditions=[{"video": {"codec": "h265", "preset": "ultrafast", "bit_depth": 10}}])
    ten = bench.make(kept, clips("ten_bit.mp4"), tmp_path / "ten")
    assert ten.findings == ()
    assert ten.produced.probes["video.mp4"].video[0].bit_depth == 10


def test_hdr_is_tone_mapped_or_refused(bench: Any, clips: Any, tmp_path: Any) -> None:
    made = bench.make(one(), clips("hdr.mp4"), tmp_path / "mapped")
    assert made.probe.video[0].color.is_hdr
    color = made.produced.probes["video.mp4"].video[0].color
    assert (color.transfer, color.primaries, color.range) == ("bt709", "bt709", "tv")
    bench.make(one(), clips("grey_hdr.mp4"), tmp_path / "grey")
    assert pixels(tmp_path / "grey" / "video.mp4", 1, 1)[0] == pytest.approx(128, abs=8)
    with pytest.raises(Refused) as refusal:
        bench.make(one(hdr="refuse"), clips("hdr.mp4"), tmp_path / "refused")
    assert refusal.value.failure_class is FailureClass.REQUEST


@pytest.mark.parametrize(
    ("clip", "codec", "shown"),
    [
        ("mastered.mp4", "h265", "PQ"),
        ("mastered.mp4", "av1", "PQ"),
        ("hlg.mp4", "h265", "HLG"),
        ("ten_bit.mp4", "h265", None),
    ],
)
def test_hdr_is_kept(bench: Any, clips: Any, tmp_path: Any, clip: str, codec: str, shown: str | None) -> None:
    fast = {"h265": "ultrafast", "av1": "13"}[codec]
    rungs = [{"video": {"codec": codec, "preset": fast, "height": height}} for height in (72, 54)]
    made = bench.make(profile(renditions=rungs, hdr="keep"), clips(clip), tmp_path)
    assert made.findings == ()
    for video in made.plan.videos:
        found = made.produced.probes[f"{video.name}/index.m3u8"].video[0]
        assert (found.bit_depth, found.color.hdr_name) == (10, shown)
    words = made.finished["master.m3u8"].decode()
    assert words.count(f"VIDEO-RANGE={shown}") == (4 if shown else 0)  # of pictures and of their key frames
    assert ("VIDEO-RANGE" in words) is (shown is not None)
    if clip == "mastered.mp4":
        # AV1 keeps the darkest in steps of 2^-14 cd/m2.
        darkest = {"h265": "0.000100", "av1": "0.000122"}[codec]
        assert mastering(tmp_path / made.plan.files[0].path) == {
            "Content light level metadata: MaxCLL=1000, MaxFALL=400",
            (
                "Mastering display metadata: has_primaries:1 has_luminance:1 r(0.6800,0.3200) g(0.2650,0.6900) "
                f"b(0.1500 0.0600) wp(0.3127, 0.3290) min_luminance={darkest}, max_luminance=1000.000000"
            ),
        }


def mastering(path: Any) -> set[str]:
    """What the first picture says of the display it was made on."""
    show = [BINARY, "-nostdin", "-hide_banner", "-i", str(path), "-frames:v", "1", "-vf", "showinfo", "-f", "null", "-"]
    said = subprocess.run(show, capture_output=True, text=True, check=True).stderr
    kinds = ("Content light", "Mastering")
    told = (line.partition("side data - ")[2] for line in said.splitlines())
    return {words for words in told if words.startswith(kinds)}


def test_cover_art_is_no_video(bench: Any, clips: Any, tmp_path: Any) -> None:
    made = bench.make(one(), clips("covered.mp4"), tmp_path)
    assert made.findings == ()
    assert (made.plan.videos[0].size.width, made.plan.videos[0].size.height) == (128, 72)


@pytest.mark.parametrize(
    ("packaging", "policy", "codec"),
    [("mp4", "convert", "mov_text"), ("mkv", "keep", "subrip"), ("mp4", "drop", None)],
)
def test_subtitles_as_the_profile_says(
    bench: Any, clips: Any, tmp_path: Any, packaging: str, policy: str, codec: str | None
) -> None:
    made = bench.make(one(packaging, subtitles=policy), clips("subtitled.mkv"), tmp_path)
    assert made.findings == ()
    found = [stream.codec for stream in made.produced.probes[f"video.{packaging}"].subtitles]
    assert found == ([codec] if codec else [])


def test_subtitles_beside_a_ladder(bench: Any, clips: Any, tmp_path: Any) -> None:
    made = bench.make(profile(subtitles="convert"), clips("subtitled.mkv"), tmp_path)
    assert "Hello" in (tmp_path / "subtitles-0.vtt").read_text()
    assert b"MPEGTS:900000" in made.finished["subtitles-0/seg-00000.vtt"]
    assert b'TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="English",LANGUAGE="en"' in made.finished["master.m3u8"]


def test_sound_alone_is_no_video(bench: Any, clips: Any, tmp_path: Any) -> None:
    with pytest.raises(Refused, match="no video stream") as refusal:
        bench.make(one(), clips("sound.m4a"), tmp_path)
    assert refusal.value.failure_class is FailureClass.INPUT
