"""What is read of an MP4's own index is what FFmpeg says after it has read the whole file; of anything odd, nothing is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import BARS, FAST, TONE, Bench, ffmpeg

from millrace.engines.engine import EngineFailure
from millrace.engines.ffmpeg import mp4_index
from millrace.engines.ffmpeg.mp4_index import read_index

FRAMES = ("-preset", "veryfast", "-g", "12", "-bf", "2")
AAC = ("-c:a", "aac")
PLAIN = {
    "reordered.mp4": (*BARS, *TONE, "-c:v", "libx264", *FRAMES, *AAC),
    "open.mp4": (*BARS, "-c:v", "libx264", *FRAMES, "-x264-params", "open-gop=1"),
    "camera.mov": (*BARS, *TONE, "-c:v", "libx264", *FRAMES, *AAC, "-timecode", "00:00:10:00"),
    "late_sound.mp4": (*BARS, "-itsoffset", "0.7", *TONE, "-map", "0", "-map", "1", *FAST, *AAC),
    "late_pictures.mp4": (
        "-itsoffset",
        "0.5",
        *BARS,
        *TONE,
        "-map",
        "0",
        "-map",
        "1",
        "-c:v",
        "libx264",
        *FRAMES,
        *AAC,
    ),
    "many.mp4": (*BARS, *TONE, "-map", "0", "-map", "1", "-map", "1", *FAST, *AAC),
    "all_keys.mp4": (*BARS, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "large.mp4": (*BARS, *TONE, *FAST, *AAC, "-video_track_timescale", "90000", "-movie_timescale", "600"),
}
ODD = {
    "primed_by_a_part_of_a_packet.mp4": (*BARS, "-f", "lavfi", "-i", "anoisesrc=d=2:r=44100", *FAST, "-c:a", "libopus"),
    "fragmented.mp4": (*BARS, *TONE, *FAST, *AAC, "-movflags", "+frag_keyframe+empty_moov"),
    "shifted.mp4": (*BARS, "-c:v", "libx264", *FRAMES, "-movflags", "+negative_cts_offsets"),
    "raw.mov": (*BARS, *TONE, *FAST, "-c:a", "pcm_s16le"),
    "transport.ts": (*BARS, *FAST),
}
CLIPS = (
    "plain.mp4", "anamorphic.mp4", "variable.mp4", "ten_bit.mp4", "ntsc.mp4", "interlaced.mp4", "late_audio.mp4", "turned.mp4", "faststart.mp4",
    "sound.m4a",
)  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("indexed")

    def made(name: str) -> Path:
        path = folder / name
        if not path.exists():
            ffmpeg(*{**PLAIN, **ODD}[name], str(path))
        return path

    return made


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_file_is_described_as_its_packets_are(
    brief_bench: Bench, own: Callable[[str], Path], name: str
) -> None:
    assert brief_bench.briefly(own(name)) == brief_bench.probe(own(name))


@pytest.mark.parametrize("name", CLIPS)
def test_so_is_every_clip_of_the_other_tests(brief_bench: Bench, clips: Callable[[str], Path], name: str) -> None:
    assert brief_bench.briefly(clips(name)) == brief_bench.probe(clips(name))


@pytest.mark.parametrize("name", ODD)
def test_of_what_is_not_plain_nothing_is_said(brief_bench: Bench, own: Callable[[str], Path], name: str) -> None:
    assert brief_bench.briefly(own(name)) is None


def test_a_cover_or_an_edit_that_hides_pictures_is_left_to_the_engine(
    brief_bench: Bench, clips: Callable[[str], Path], own: Callable[[str], Path], tmp_path: Path
) -> None:
    assert brief_bench.briefly(clips("covered.mp4")) is None
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", "0.6", "-i", str(own("reordered.mp4")), "-an", "-c", "copy", str(cut))
    assert brief_bench.probe(cut).video[0].hidden > 0
    assert brief_bench.briefly(cut) is None


def test_a_file_that_was_cut_short_is_left_to_the_engine(
    brief_bench: Bench, clips: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = clips("faststart.mp4").read_bytes()
    short = tmp_path / "short.mp4"
    short.write_bytes(whole[: len(whole) * 3 // 4])
    assert brief_bench.briefly(short) is None
    with pytest.raises(EngineFailure):
        brief_bench.probe(short)


def test_packets_beyond_the_end_of_the_file_are_left_to_the_engine(
    brief_bench: Bench, own: Callable[[str], Path], tmp_path: Path
) -> None:
    data = bytearray(own("open.mp4").read_bytes())
    at = data.index(b"stco") + 12
    data[at : at + 4] = len(data).to_bytes(4)
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(data)
    assert brief_bench.briefly(odd) is None


def test_no_bytes_of_an_index_do_harm(own: Callable[[str], Path], tmp_path: Path) -> None:
    """Whatever is changed in it, it is read or it is not; nothing else is raised, and nothing grows without bound."""
    data = bytearray(own("reordered.mp4").read_bytes())
    begin = data.index(b"moov")
    place = tmp_path / "odd.mp4"
    for at in range(begin, len(data) - 4, 7):
        changed = bytearray(data)
        changed[at : at + 4] = b"\xff\xff\xff\xff"
        place.write_bytes(changed)
        with place.open("rb") as file:
            found: Any = read_index(file, len(changed), fewest=0)
        assert found is None or all(len(one.times) <= mp4_index.MOST_PACKETS for one in found.values())


def test_a_short_film_is_read_by_the_engine(bench: Bench, own: Callable[[str], Path]) -> None:
    assert bench.engine.brief(own("reordered.mp4")) is None
