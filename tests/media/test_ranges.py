"""Parts of films that are made from a few bytes of them: byte for byte those that are made from the whole file."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from conftest import BINARY, ffmpeg
from msgspec.structs import replace

from millrace.domain.media.byte_ranges import Span, length
from millrace.domain.media.chunks import with_split
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import Probe
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.source_map import NOTICED, SourceMap
from millrace.domain.media.split import Chunk, Chunking
from millrace.engines.engine import Command, Outcome
from millrace.engines.ffmpeg.engine import FFmpeg

ENGINE = FFmpeg(BINARY)
PICTURES = ("-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=16")
TONE = ("-f", "lavfi", "-i", "sine=d=16")
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-x264-params", "open-gop=1:keyint=25:min-keyint=9:bframes=3:log=-1")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=25")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25")
FILMS: dict[str, tuple[str, ...]] = {
    "index_last.mp4": (*PICTURES, *TONE, *H264, "-c:a", "aac"),
    "index_first.mp4": (*PICTURES, *TONE, *H264, "-c:a", "aac", "-movflags", "+faststart"),
    "pictures_alone.mov": (*PICTURES, *H264),
    "uncompressed_sound.mov": (*PICTURES, *TONE, *H264, "-c:a", "pcm_s16le"),
    "high_efficiency.mp4": (*PICTURES, *TONE, *HEVC, "-c:a", "aac"),
    "cues_last.mkv": (*PICTURES, *TONE, *H264, "-c:a", "aac", "-cluster_time_limit", "1000"),
    "cues_first.mkv": (*PICTURES, *TONE, *H264, "-c:a", "aac", "-cluster_time_limit", "1000", "-cues_to_front", "1"),
    "nines.webm": (*PICTURES, *TONE, *VP9, "-c:a", "libopus", "-cluster_time_limit", "1000"),
    "late_start.mkv": (*PICTURES, *TONE, *H264, "-c:a", "aac", "-output_ts_offset", "3.2", "-cluster_time_limit", "1000"),
    "variable.mp4": (*PICTURES, "-vf", "select='not(mod(n,3))+not(mod(n,7))'", "-fps_mode", "vfr", *H264),
}  # fmt: skip
UNKNOWN: dict[str, tuple[tuple[str, ...], str]] = {
    "transport.ts": ((*PICTURES, *H264), "no index that is known"),
    "fragments.mp4": ((*PICTURES, *H264, "-movflags", "+frag_keyframe+empty_moov"), "spread over fragments"),
    "no_cues.mkv": ((*PICTURES, *H264, "-live", "1"), "left open|no cues"),
}


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The path of a film by its name, made at the first call."""
    folder = tmp_path_factory.mktemp("films")

    def made(name: str, *options: str) -> Path:
        path = folder / name
        if not path.exists():
            ffmpeg(*(options or FILMS[name]), str(path))
        return path

    return made


def run(command: Command) -> Outcome:
    for folder in command.folders:
        folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command.argv, cwd=command.cwd, capture_output=True, text=True, check=False)
    return Outcome(exit_status=done.returncode, stdout=done.stdout, stderr=done.stderr)


def mapped(path: Path) -> tuple[Probe, SourceMap]:
    probed = run(ENGINE.probe(path))
    probe = ENGINE.read_probe(probed.stdout, probed.stderr, probed.exit_status)
    return probe, replace(ENGINE.map_source(path, probed, run(ENGINE.opening(path))), gap=0)


def divided(probe: Probe) -> Plan:
    video = {"codec": "h264", "height": 36, "preset": "ultrafast"}
    sound = [{}] if probe.audio else []
    document = {"name": "t", "packaging": "mp4", "renditions": [{"video": video}], "audio": sound, "gop_s": 1}
    return with_split(plan(profile_from(document), probe), probe, cores=1, chunking=Chunking.ALWAYS, helpers=3, each=1)


def with_holes(path: Path, spans: Iterable[Span], target: Path) -> Path:
    """A file as long as the other that has only these bytes of it."""
    with path.open("rb") as source, target.open("wb") as file:
        os.ftruncate(file.fileno(), path.stat().st_size)
        for begin, end in spans:
            source.seek(begin)
            file.seek(begin)
            file.write(source.read(end - begin))
    return target


def part(planned: Plan, chunk: Chunk | None, path: Path, folder: Path) -> tuple[Outcome, Mapping[str, bytes]]:
    """What is made of a part, as the engine is asked for it: how that ended, and the pieces."""
    shutil.rmtree(folder, ignore_errors=True)
    out, work = folder / "out", folder / "work"
    for each in (out, work):
        each.mkdir(parents=True)
    (command,) = ENGINE.encode_part(planned, chunk, path, out, work)
    ended = run(command)
    return ended, {one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


@pytest.mark.parametrize("name", FILMS)
def test_a_part_made_of_its_ranges_is_the_one_that_is_made_of_the_whole(
    film: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    path = film(name)
    probe, found = mapped(path)
    planned = divided(probe)
    assert len(planned.split.chunks) == 4
    for chunk in planned.split.chunks:
        spans = found.chunk(planned, probe, chunk)
        assert spans is not None
        assert length(spans) < 0.9 * found.size
        holey = with_holes(path, spans, tmp_path / f"holes{path.suffix}")
        (ended, pieces), (_, wanted) = (
            part(planned, chunk, holey, tmp_path / "a"),
            part(planned, chunk, path, tmp_path / "b"),
        )
        assert (ended.exit_status, ENGINE.suspicion(ended.stderr)) == (0, None), ended.stderr
        assert pieces
        assert pieces == wanted


@pytest.mark.parametrize("name", ["index_last.mp4", "index_first.mp4", "high_efficiency.mp4"])
def test_sound_is_made_without_the_pictures(film: Callable[..., Path], tmp_path: Path, name: str) -> None:
    path = film(name)
    probe, found = mapped(path)
    planned = divided(probe)
    spans = found.sides(planned, probe)
    assert spans is not None
    assert length(spans) < 0.95 * found.size
    holey = with_holes(path, spans, tmp_path / "holes.mp4")
    (ended, pieces), (_, wanted) = part(planned, None, holey, tmp_path / "a"), part(planned, None, path, tmp_path / "b")
    assert (ended.exit_status, ENGINE.suspicion(ended.stderr)) == (0, None), ended.stderr
    assert pieces
    assert pieces == wanted


@pytest.mark.parametrize("name", ["uncompressed_sound.mov", "cues_last.mkv", "nines.webm"])
def test_sound_that_a_hole_would_make_silent_is_made_of_the_whole(film: Callable[..., Path], name: str) -> None:
    probe, found = mapped(film(name))
    assert found.sides(divided(probe), probe) is None


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_sought_without_reading_it_is_fetched_whole(film: Callable[..., Path], name: str) -> None:
    options, reason = UNKNOWN[name]
    with pytest.raises(ValueError, match=reason):
        mapped(film(name, *options))


def test_an_index_that_leads_elsewhere_than_the_engine_reads_is_not_believed(
    film: Callable[..., Path], tmp_path: Path
) -> None:
    """One byte of one packet is enough: what the probe read and what lies there are compared."""
    path = shutil.copy(film("pictures_alone.mov"), tmp_path / "film.mov")
    probed, opened = run(ENGINE.probe(path)), run(ENGINE.opening(path))
    (places,) = ENGINE.map_source(path, probed, opened).places.values()
    with path.open("r+b") as file:
        file.seek(places[200] + 7)
        byte = file.read(1)
        file.seek(places[200] + 7)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(ValueError, match="do not lie where its index says"):
        ENGINE.map_source(path, probed, opened)


def test_without_knowing_how_much_is_read_at_first_nothing_is_known(film: Callable[..., Path]) -> None:
    path = film("pictures_alone.mov")
    with pytest.raises(ValueError, match="does not say how much"):
        ENGINE.map_source(path, run(ENGINE.probe(path)), Outcome(exit_status=1, stdout="", stderr=""))


CODECS: dict[str, tuple[str, ...]] = {
    "h264": ("film.mp4", *H264),
    "hevc": ("film.mp4", *HEVC),
    "vp9": ("film.webm", *VP9, "-cluster_time_limit", "1000"),
    "prores": ("film.mov", "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"),
    "mpeg4": ("film.mp4", "-c:v", "mpeg4", "-g", "25"),
    "mjpeg": ("film.mov", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "aac": ("film.mp4", *H264, "-c:a", "aac"),
    "ac3": ("film.mp4", *H264, "-c:a", "ac3"),
    "eac3": ("film.mp4", *H264, "-c:a", "eac3"),
    "flac": ("film.mp4", *H264, "-c:a", "flac"),
}  # fmt: skip


def test_each_codec_that_may_have_holes_is_tried() -> None:
    assert set(CODECS) == NOTICED


@pytest.mark.parametrize("codec", CODECS)
def test_a_range_that_is_missing_never_makes_a_part(film: Callable[..., Path], tmp_path: Path, codec: str) -> None:
    """Wherever the hole: what is made ends in an error, or has too few frames, or (in its lead) is the right one all the same."""
    name, *options = CODECS[codec]
    is_sound = "-c:a" in options
    path = film(f"{codec}_{name}", *PICTURES, *(TONE if is_sound else ()), *options)
    probe, found = mapped(path)
    planned = divided(probe)
    chunk = None if is_sound else planned.split.chunks[1]
    spans = found.sides(planned, probe) if chunk is None else found.chunk(planned, probe, chunk)
    assert spans is not None
    _, wanted = part(planned, chunk, path, tmp_path / "whole")
    stream = 1 if is_sound else 0
    places, sizes = found.places[stream], found.packets[stream].sizes
    noticed = 0
    for at in (0.2, 0.35, 0.5):
        number = int(len(places) * at)
        hole = (places[number], places[number] + sizes[number])
        left = [one for span in spans for one in _minus(span, hole)]
        ended, pieces = part(
            planned, chunk, with_holes(path, left, tmp_path / f"holes{path.suffix}"), tmp_path / "holes"
        )
        failed = (
            ended.exit_status != 0 or ENGINE.suspicion(ended.stderr) is not None or _frames(ended) != _planned(chunk)
        )
        assert failed or pieces == wanted, (codec, at)
        noticed += failed
    assert noticed


def _minus(span: Span, hole: Span) -> Iterable[Span]:
    begin, end = span
    return [one for one in ((begin, min(end, hole[0])), (max(begin, hole[1]), end)) if one[0] < one[1]]


def _planned(chunk: Chunk | None) -> int | None:
    return None if chunk is None else chunk.frames


def _frames(ended: Outcome) -> int | None:
    said = [line.partition("=")[2] for line in ended.stdout.splitlines() if line.startswith("frame=")]
    return int(said[-1]) if said else None
