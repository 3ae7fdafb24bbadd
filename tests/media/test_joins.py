"""What somebody sees who looks for the joins: quantizers, sizes, times and numbers on both sides of each, against the whole film."""

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, Bench, ffmpeg
from msgspec.structs import replace

from millrace.domain.media.check import check
from millrace.domain.media.chunks import SHORTEST, source_stream, starts
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import Probe
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.rate_bound import Bound, supply
from millrace.domain.media.split import Chunk, Split
from millrace.engines.ffmpeg.packets import rows
from millrace.engines.isobmff import below

RATE = 25
SETTINGS_OF_X264 = 800
"""Bytes of the text in which x264 tells its settings, once at the beginning of each encode."""
GRAIN = ("-vf", "noise=alls=20:allf=t:all_seed=7")


def _film(path: Path, frames: int, *options: str, size: str = "96x64") -> Path:
    """Moving bars with a key frame every second."""
    clip = ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={RATE}")
    ffmpeg(
        *clip, *options, "-frames:v", str(frames), "-c:v", "libx264", "-preset", "ultrafast", "-g", str(RATE), str(path)
    )
    return path


def _planned(source: Probe, cuts: Sequence[int], packaging: str = "mp4", **video: Any) -> Plan:
    """A plan with a key frame every second that is cut at these frames; whole without any."""
    rung = {"name": "one", "video": {"codec": "h264", **video}}
    times = {"segment_s": 1, "gop_s": 1} if packaging == "cmaf" else {"gop_s": 1}
    made = plan(profile_from({"name": "t", "packaging": packaging, "renditions": [rung], **times}), source)
    stream = source_stream(made, source)
    assert made.pictures is not None
    assert stream is not None
    begins = starts(made, made.pictures, source, stream)
    ends = [*cuts, made.frames]
    chunks = []
    for number, (first, end) in enumerate(zip([0, *cuts], ends, strict=True)):
        begin = begins[first // RATE]
        assert begin is not None
        chunks.append(Chunk(number=number, first=first, end=end, seek=begin.seek if number else None))
    threads = (1,) if rung["video"]["codec"] == "h264" else ()  # type: ignore[index]  # of a mapping with values of two kinds
    return replace(made, split=Split(chunks=tuple(chunks) if cuts else (), threads=threads))


def _packets(path: Path) -> list[list[int]]:
    """Decoding time, time, duration and bytes of every packet."""
    done = subprocess.run(
        [BINARY, "-v", "error", "-copyts", "-i", str(path), "-map", "0:v", "-c", "copy", "-f", "framecrc", "-"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [[int(part) for part in parts[1:5]] for _, parts, _ in rows(done.stdout)]


def _made(bench: Bench, source: Path, wanted: Plan, folder: Path) -> Path:
    folder.mkdir(parents=True)
    bench.encode(wanted, source, folder)
    assert check(wanted, bench.inspect(wanted, folder)) == ()
    return folder / wanted.files[0].path


def test_x264_goes_on_over_a_join_as_in_the_midst_of_a_film(bench: Bench, tmp_path: Path) -> None:
    """The key frame behind a join and the frames before it are as large as those of the whole: no quantizer tells where it was."""
    source = _film(tmp_path / "film.mp4", 150)
    probe = bench.probe(source)
    sizes = [
        [size for *_, size in _packets(_made(bench, source, _planned(probe, cuts, preset="veryfast", crf=23), tmp_path / name))]
        for name, cuts in (("whole", ()), ("cut", (50, 100)))
    ]  # fmt: skip
    whole, cut = sizes
    off = {
        number: there - wanted for number, (wanted, there) in enumerate(zip(whole, cut, strict=True)) if there != wanted
    }
    assert set(off) <= {50, 100}
    assert all(0 <= more < SETTINGS_OF_X264 for more in off.values()), off


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_a_players_buffer_holds_out_over_joins(bench: Bench, tmp_path: Path, codec: str) -> None:
    source = _film(tmp_path / "film.mp4", 200, *GRAIN)
    probe = bench.probe(source)
    bound = Bound(rate_bps=150_000, buffer_bits=300_000)
    settings = {"codec": codec, "preset": "veryfast", "crf": 16, "maxrate": bound.rate_bps}
    made = _made(bench, source, _planned(probe, (50, 100, 150), **settings), tmp_path / "cut")
    found = supply((size for *_, size in _packets(made)), Fraction(RATE), bound)
    assert found.least >= 0


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_shortest_chunk_is_in_step(bench: Bench, tmp_path: Path, codec: str) -> None:
    """An encoder that gets fewer frames than it holds back takes other decoding times."""
    source = _film(tmp_path / "film.mp4", 50 + SHORTEST)
    wanted = _planned(bench.probe(source), (25, 50), codec=codec, preset="medium", crf=30)
    times = [packet[0] for packet in _packets(_made(bench, source, wanted, tmp_path / "cut"))]
    assert len({later - one for one, later in pairwise(times)}) == 1


def test_fragments_are_numbered_through_the_film(bench: Bench, tmp_path: Path) -> None:
    source = _film(tmp_path / "film.mp4", 100)
    _made(bench, source, _planned(bench.probe(source), (25, 75), "cmaf", preset="ultrafast"), tmp_path / "cut")
    segments = sorted((tmp_path / "cut" / "one").glob("*.m4s"))
    heads = [head for segment in segments for head in below([segment.read_bytes()], (b"moof", b"mfhd"))]
    assert [int.from_bytes(head[4:8]) for head in heads] == [1, 2, 3, 4]


def test_hard_cuts_make_no_key_frames(bench: Bench, tmp_path: Path) -> None:
    """Where they did, renditions would have theirs at different times: who sees a cut depends on the size."""
    flashes = ("-vf", "negate=enable='lt(mod(n,25),20)'")
    source = _film(tmp_path / "film.mp4", 75, *flashes)
    # The check compares the key frames of segments with those that are planned.
    _made(bench, source, _planned(bench.probe(source), (25, 50), "cmaf", preset="veryfast"), tmp_path / "cut")
