"""Each profile that comes with Millrace makes what it promises from a cut of the sample; FFmpeg is the judge."""

import re
from pathlib import Path

import pytest
from outside import Shell, decoded

WIDE = "1280x720"


@pytest.mark.parametrize(
    ("profile", "name", "streams"),
    [
        ("mp4-h264", "video.mp4", (f"video h264 {WIDE}", "audio aac")),
        ("mp4-h265", "video.mp4", (f"video hevc {WIDE}", "audio aac")),
        ("av1", "video.webm", (f"video av1 {WIDE}", "audio opus")),
        ("audio", "audio.m4a", ("audio aac",)),
    ],
)
def test_a_profile_of_one_file(shell: Shell, clips: Path, profile: str, name: str, streams: tuple[str, ...]) -> None:
    done = shell.run("transcode", clips / "clip.mp4", "--profile", profile, "--out", "out", "--json")
    assert done.code == 0, done.err
    found = decoded(shell.home / "out" / name)
    assert found.streams == streams
    assert found.frames == (25 if len(streams) == 2 else 0)
    assert found.seconds == pytest.approx(1.0, abs=0.1)


def test_web_hls_is_a_ladder_whose_rungs_change_at_the_same_frames(shell: Shell, clips: Path) -> None:
    done = shell.run("transcode", clips / "clip.mp4", "--profile", "web-hls", "--out", "out", "--json")
    assert done.code == 0, done.err
    out = shell.home / "out"
    rungs = {"360p": "640x360", "480p": "854x480", "720p": WIDE}
    lengths = set()
    for name, size in rungs.items():
        found = decoded(out / name / "index.m3u8")
        assert found.streams == (f"video h264 {size}",)
        assert found.frames == 25
        lengths.add(tuple(re.findall(r"#EXTINF:([\d.]+)", (out / name / "index.m3u8").read_text())))
    assert len(lengths) == 1
    assert decoded(out / "audio-0" / "index.m3u8").streams == ("audio aac",)
    master = (out / "master.m3u8").read_text()
    assert set(re.findall(r"RESOLUTION=(\d+x\d+)", master)) == set(rungs.values())
    # Each variant comes with the sound.
    assert sorted(decoded(out / "master.m3u8").streams) == sorted(
        [*(f"video h264 {size}" for size in rungs.values()), *["audio aac"] * len(rungs)]
    )


def test_thumbnails_are_sprites_and_cues_that_point_into_them(shell: Shell, clips: Path) -> None:
    done = shell.run("transcode", clips / "clip.mp4", "--profile", "thumbnails", "--out", "out", "--json")
    assert done.code == 0, done.err
    out = shell.home / "out"
    cues = (out / "thumbnails.vtt").read_text()
    assert cues.startswith("WEBVTT")
    found = re.findall(r"([\d:.]+) --> ([\d:.]+)\n(\S+?)#xywh=(\d+),(\d+),(\d+),(\d+)", cues)
    assert [cue[:2] for cue in found] == [("00:00:00.000", "00:00:01.000")]
    for _, _, sprite, left, top, width, height in found:
        (stream,) = decoded(out / sprite).streams
        wide, high = map(int, stream.rpartition(" ")[2].split("x"))
        assert int(left) + int(width) <= wide
        assert int(top) + int(height) <= high
