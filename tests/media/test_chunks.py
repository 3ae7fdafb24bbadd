"""Films encoded in chunks against the same films encoded whole: losslessly, so that every decoded frame can be compared."""

import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, Bench, ffmpeg
from msgspec.structs import replace

from millrace.domain.failures import FailureClass
from millrace.domain.media.check import check
from millrace.domain.media.chunks import with_split
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import LightLevel
from millrace.domain.media.profile import Profile
from millrace.domain.media.profile_document import profile_from, to_document
from millrace.domain.media.proof import proof
from millrace.domain.media.split import Chunking
from millrace.engines.engine import EngineFailure

ALWAYS = Chunking.ALWAYS

TONE = ("-f", "lavfi", "-i", "sine=d={}")
OPEN = ("-c:v", "libx264", "-preset", "veryfast", "-x264-params", "open-gop=1:keyint=17:min-keyint=5:bframes=3:log=-1")
CLOSED = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "24")


def _clip(rate: str, *, seconds: float = 4, size: str = "64x36", sound_s: float = 4) -> tuple[str, ...]:
    tone = ("-f", "lavfi", "-i", f"sine=frequency=500:d={sound_s}")
    return ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}", *tone, "-c:a", "aac")


SOURCES: dict[str, tuple[str, ...]] = {
    "open_gop_30.mp4": (*_clip("30"), *OPEN),
    "ntsc_2997.mp4": (*_clip("30000/1001"), *OPEN),
    "film_23976.mkv": (*_clip("24000/1001"), *OPEN),
    "late_start.mkv": (*_clip("25"), *OPEN, "-output_ts_offset", "3.21"),
    "late_pictures.mkv": ("-itsoffset", "0.7", *_clip("25", sound_s=5), *OPEN),
    "long_sound.mp4": (*_clip("25", sound_s=5), *OPEN),
    "short_sound.mp4": (*_clip("25", sound_s=2.5), *OPEN),
    "odd_size.mkv": (*_clip("25", size="63x37"), "-pix_fmt", "yuv444p", *OPEN),
    "ten_bit_open.mp4": (
        *_clip("25"),
        *("-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-preset", "ultrafast"),
        *("-x265-params", "log-level=error:open-gop=1:keyint=20:min-keyint=10:bframes=3"),
    ),
    "variable.mp4": (
        *_clip("30"),
        *("-vf", "select='not(mod(n,3))+not(mod(n,7))'", "-fps_mode", "vfr", *OPEN),
    ),
    "gap.mkv": (*_clip("30"), "-vf", "select='not(between(n,40,75))'", "-fps_mode", "vfr", *OPEN),
    "interlaced.mkv": (
        *_clip("25"),
        *("-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ilme+ildct", *CLOSED),
    ),
    "no_index.mkv": (*_clip("25"), *CLOSED, "-live", "1"),
    "rare_keys.mp4": (*_clip("25"), "-c:v", "libx264", "-preset", "ultrafast", "-g", "60"),
    "turned.mp4": (*_clip("25"), *OPEN),
    "hdr.mp4": (
        *_clip("25", seconds=2),
        *("-vf", "zscale=tin=bt709:pin=bt709:min=bt709:t=smpte2084:p=bt2020:m=bt2020nc:npl=203,format=yuv420p10le"),
        *("-c:v", "libx265", "-preset", "ultrafast", "-color_primaries", "bt2020", "-color_trc", "smpte2084"),
        *("-colorspace", "bt2020nc", "-x265-params", "log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:keyint=20:max-cll=1000,400"),
    ),
    "from_transport.mkv": (*_clip("25"), *OPEN, "-f", "mpegts"),
    "damaged_later.mp4": (*_clip("25", size="256x144"), *OPEN, "-movflags", "+faststart"),
    "vp9.webm": ("-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=4", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "30", "-auto-alt-ref", "1", "-lag-in-frames", "8"),
}  # fmt: skip


def _profile(packaging: str = "cmaf", codec: str = "h264", **video: Any) -> Profile:
    rungs = [{"name": "large", "video": {"codec": codec, "height": 36, **video}}]
    if packaging == "cmaf":
        rungs.append({"name": "small", "video": {"codec": codec, "height": 18, **video}})
    sound = "opus" if packaging == "webm" else "aac"
    document = {"name": "t", "packaging": packaging, "renditions": rungs, "audio": [{"codec": sound}]}
    return profile_from(
        {**document, "segment_s": 1, "gop_s": 0.5} if packaging == "cmaf" else {**document, "segment_s": 1, "gop_s": 1}
    )


def test_chunks_keep_high_dynamic_range(bench: Bench, sources: Any, tmp_path: Path) -> None:
    rungs = [{"video": {"codec": "h265", "height": height, "preset": "ultrafast"}} for height in (36, 32)]
    document = {"name": "t", "packaging": "cmaf", "renditions": rungs, "hdr": "keep", "segment_s": 1, "gop_s": 0.5}
    cut = bench.make(profile_from(document), sources("hdr.mp4"), tmp_path / "cut", chunks="always")
    assert len(cut.plan.split.chunks) >= 2
    assert cut.findings == ()
    assert cut.plan.pictures is not None
    for name in ("36p", "32p"):
        (found,) = cut.produced.probes[f"{name}/index.m3u8"].video
        assert (found.color.hdr_name, found.color.primaries, found.bit_depth) == ("PQ", "bt2020", 10)
        assert found.light == cut.plan.pictures.light == LightLevel(max_cll=1000, max_fall=400)


LOSSLESS = {"crf": 0, "preset": "ultrafast"}


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a source by its name, made at the first call."""
    folder = tmp_path_factory.mktemp("sources")

    def made(name: str) -> Path:
        path = folder / name
        if not path.exists():
            ffmpeg(*SOURCES[name], str(path))
            if name == "turned.mp4":
                upright = path.rename(folder / "upright.mp4")
                ffmpeg("-display_rotation", "-90", "-i", str(upright), "-c", "copy", str(path))
            if name == "from_transport.mkv":
                stream = path.rename(folder / "transport.ts")
                ffmpeg("-i", str(stream), "-c", "copy", str(path))
        return path

    return made


def _decoded(path: Path, kind: str) -> list[str]:
    """Time and hash of every decoded frame, or of the sound in pieces of 1024 samples."""
    done = subprocess.run(
        [BINARY, "-nostdin", "-v", "error", "-copyts", "-i", str(path), "-map", f"0:{kind}", "-f", "framemd5", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    lines = [line.split(",") for line in done.stdout.splitlines() if not line.startswith("#")]
    return [f"{parts[2].strip()} {parts[5].strip()}" for parts in lines]


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "damaged_later.mp4"])
def test_a_film_in_chunks_is_the_film(bench: Bench, sources: Any, tmp_path: Path, name: str) -> None:
    whole = bench.make(_profile(**LOSSLESS), sources(name), tmp_path / "whole", chunks="never")
    cut = bench.make(_profile(**LOSSLESS), sources(name), tmp_path / "cut", chunks="always")
    assert whole.plan.split.is_whole
    assert len(cut.plan.split.chunks) >= 2
    assert cut.findings == whole.findings == ()
    for file in cut.plan.files:
        kind = "v" if file.video else "a"
        found, wanted = _decoded(cut.folder / file.path, kind), _decoded(whole.folder / file.path, kind)
        assert found == wanted, file.path
        if file.video:
            assert len(found) == file.video.frames
            assert len(set(found)) == len(found)
    assert cut.finished.keys() == whole.finished.keys()
    names = [
        sorted(path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*")) for made in (cut, whole)
    ]
    assert names[0] == names[1]
    assert (cut.folder / "large/init.mp4").read_bytes() == (whole.folder / "large/init.mp4").read_bytes()
    assert (cut.folder / "large/index.m3u8").read_text() == (whole.folder / "large/index.m3u8").read_text()


@pytest.mark.parametrize(
    ("packaging", "video"),
    [
        ("mp4", LOSSLESS),
        ("mkv", LOSSLESS),
        ("hls", LOSSLESS),
        ("mp4", {"codec": "h265", "preset": "ultrafast", "crf": 20}),
        ("cmaf", {"codec": "av1", "preset": 12, "crf": 30}),
        ("webm", {"codec": "vp9", "preset": 8, "crf": 30}),
    ],
)
def test_each_packaging_is_joined(bench: Bench, sources: Any, tmp_path: Path, packaging: str, video: Any) -> None:
    source = sources("ntsc_2997.mp4")
    whole = bench.make(_profile(packaging, **video), source, tmp_path / "whole", chunks="never")
    cut = bench.make(_profile(packaging, **video), source, tmp_path / "cut", chunks="always")
    assert not cut.plan.split.is_whole
    assert cut.findings == whole.findings == ()
    for file in cut.plan.files:
        for kind in (*("v",) * bool(file.video), *("a",) * bool(file.audio)):
            found, wanted = _decoded(cut.folder / file.path, kind), _decoded(whole.folder / file.path, kind)
            if kind == "v" and video is not LOSSLESS:
                # Lossy encoders decide otherwise at a seam; what must not differ is which frames there are, and when.
                found, wanted = [line.split()[0] for line in found], [line.split()[0] for line in wanted]
            assert found == wanted, (file.path, kind)


def test_sound_of_the_source_is_encoded_once(bench: Bench, sources: Any, tmp_path: Path) -> None:
    cut = bench.make(_profile(**LOSSLESS), sources("open_gop_30.mp4"), tmp_path / "cut", chunks="always")
    document: Any = proof(cut.plan, cut.produced, {})
    (sound,) = (entry for entry in document["files"] if entry["type"] == "audio")
    assert sound["pieces"] == 1
    assert abs(sound["duration_s"]["found"] - 4) < 0.03
    for entry in document["files"]:
        if entry["type"] == "video":
            assert sum(entry["frames_of_chunks"]) == 120
            assert {join["off_by_s"] for join in entry["joins"]} == {0.0}


def test_a_capped_fps_is_cut_on_the_grid_of_the_output(bench: Bench, sources: Any, tmp_path: Path) -> None:
    profile = _profile(**LOSSLESS, fps=15)
    whole = bench.make(profile, sources("open_gop_30.mp4"), tmp_path / "whole", chunks="never")
    cut = bench.make(profile, sources("open_gop_30.mp4"), tmp_path / "cut", chunks="always")
    assert len(cut.plan.split.chunks) >= 2
    path = "large/index.m3u8"
    assert _decoded(cut.folder / path, "v") == _decoded(whole.folder / path, "v")


def test_a_seek_that_lands_too_late_is_found(bench: Bench, sources: Any, tmp_path: Path) -> None:
    """The guard behind every cut: frames that were never read are missing, never replaced by copies of others."""
    source = sources("open_gop_30.mp4")
    wanted = with_split(plan(_profile(**LOSSLESS), bench.probe(source)), bench.probe(source), cores=2, chunking=ALWAYS)
    first, *others = wanted.split.chunks
    late = [replace(chunk, seek=chunk.seek + 1) for chunk in others if chunk.seek is not None]
    wanted = replace(wanted, split=replace(wanted.split, chunks=(first, *late)))
    bench.encode(wanted, source, tmp_path / "cut")
    texts = [finding.text for finding in check(wanted, bench.inspect(wanted, tmp_path / "cut"))]
    assert any("frames; planned: 120" in text for text in texts)
    assert any(f"frames from chunk {late[0].number}; planned: {late[0].frames}" in text for text in texts)


def test_a_transport_stream_stays_whole(bench: Bench, clips: Any, tmp_path: Path) -> None:
    made = bench.make(_profile(**LOSSLESS), clips("transport.ts"), tmp_path, chunks="always")
    assert made.plan.split.reason == "whole: a seek in mpegts is not exact"
    assert made.findings == ()


def test_frames_hidden_by_an_edit_list_keep_a_film_whole(bench: Bench, sources: Any, tmp_path: Path) -> None:
    trimmed = tmp_path / "trimmed.mp4"
    # A copy from between two key frames: MP4 keeps the frames before and hides them.
    ffmpeg("-ss", "1.3", "-i", str(sources("rare_keys.mp4")), "-c", "copy", str(trimmed))
    made = bench.make(_profile(**LOSSLESS), trimmed, tmp_path / "out", chunks="always")
    assert "an edit list hides" in made.plan.split.reason
    assert made.findings == ()


@pytest.mark.parametrize("seed", range(6))
def test_damage_in_any_chunk_is_found(bench: Bench, sources: Any, tmp_path: Path, seed: int) -> None:
    """Behind a seek detection is not strict; the log still tells of every damage that strict detection ends at."""
    data, dice = bytearray(sources("damaged_later.mp4").read_bytes()), random.Random(seed)
    begin = data.find(b"mdat") + 8
    place = begin + (len(data) - begin) * (4 + seed) // 12
    data[place : place + 400] = dice.randbytes(400)
    rotten = tmp_path / "rotten.mp4"
    rotten.write_bytes(data)
    profile = _profile(preset="ultrafast")
    with pytest.raises(EngineFailure) as whole:
        bench.make(profile, rotten, tmp_path / "whole", chunks="never")
    with pytest.raises(EngineFailure) as cut:
        bench.make(profile, rotten, tmp_path / "cut", chunks="always")
    assert whole.value.failure.failure_class is cut.value.failure.failure_class is FailureClass.INPUT


@pytest.mark.parametrize("packaging", ["mp4", "mkv", "cmaf"])
def test_text_and_titles_come_with_a_film_in_chunks(bench: Bench, clips: Any, tmp_path: Path, packaging: str) -> None:
    titled = tmp_path / "titled.mkv"
    ffmpeg("-i", str(clips("subtitled.mkv")), "-map", "0", "-c", "copy", "-metadata", "title=A film", str(titled))
    base = to_document(_profile(packaging, **LOSSLESS))
    profile = profile_from({**base, "subtitles": "convert", "metadata": "keep"})
    shown = []
    for chunks in ("never", "always"):
        made = bench.make(profile, titled, tmp_path / chunks, chunks=chunks)
        assert made.findings == ()
        assert made.plan.split.is_whole is (chunks == "never")
        film = made.folder / next(file.path for file in made.plan.files if file.video)
        text = made.folder / next(file.path for file in made.plan.files if file.subtitles)
        said = subprocess.run(
            [BINARY, "-nostdin", "-hide_banner", "-v", "error", "-i", str(text), "-map", "0:s", "-f", "srt", "-"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert "Hello" in said
        head = subprocess.run([BINARY, "-hide_banner", "-i", str(film)], capture_output=True, text=True, check=False)
        facts = [
            line.strip() for line in head.stderr.splitlines() if line.strip().startswith("title") or "(eng)" in line
        ]
        shown.append((said, [line.replace(chunks, "") for line in facts]))
    assert shown[0] == shown[1]
    assert packaging == "cmaf" or any("A film" in line for line in shown[0][1])
