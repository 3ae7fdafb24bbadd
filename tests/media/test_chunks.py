"""Films encoded in chunks against the same films encoded whole: losslessly, so that every decoded frame can be compared."""

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, Bench, ffmpeg

from millrace.domain.media.profile import Profile
from millrace.domain.media.profile_document import profile_from

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


LOSSLESS = {"crf": 0, "preset": "ultrafast"}


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a source by its name, made at the first call."""
    folder = tmp_path_factory.mktemp("sources")

    def made(name: str) -> Path:
        path = folder / name
        if not path.exists():
            ffmpeg(*SOURCES[name], str(path))
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


@pytest.mark.parametrize("name", list(SOURCES))
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
