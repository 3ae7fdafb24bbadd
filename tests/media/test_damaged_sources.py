"""Damage never passes as complete: each ends in class input with a sentence, whatever FFmpeg's exit status says."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace.domain.failures import FailureClass
from millrace.domain.media.profile_document import profile_from
from millrace.engines.engine import EngineFailure

PROFILE = profile_from(
    {
        "name": "test",
        "packaging": "mp4",
        "renditions": [{"video": {"codec": "h264", "preset": "ultrafast", "height": 36}}],
        "audio": [{"codec": "aac"}],
    }
)


def missing(path: Path, clips: Any) -> None:
    """Nothing is written."""


def empty(path: Path, clips: Any) -> None:
    path.write_bytes(b"")


def text(path: Path, clips: Any) -> None:
    path.write_text("This is no film. " * 1000)


def noise(seed: int) -> Callable[[Path, Any], None]:
    def write(path: Path, clips: Any) -> None:
        path.write_bytes(random.Random(seed).randbytes(100_000))

    return write


def start_codes(path: Path, clips: Any) -> None:
    # Picture start codes of H.263 between noise: what FFmpeg takes random bytes for.
    path.write_bytes(b"".join(b"\x00\x00\x80\x02\x08" + random.Random(number).randbytes(500) for number in range(200)))


def folder(path: Path, clips: Any) -> None:
    path.mkdir()


def playlist(path: Path, clips: Any) -> None:
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{clips('transport.ts')}\n#EXT-X-ENDLIST\n")


def script(path: Path, clips: Any) -> None:
    path.write_text(f"ffconcat version 1.0\nfile {clips('plain.mp4')}\n")


def cut(name: str, part: float) -> Callable[[Path, Any], None]:
    def write(path: Path, clips: Any) -> None:
        whole = clips(name).read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])

    return write


def rotten(path: Path, clips: Any) -> None:
    data, dice = bytearray(clips("faststart.mp4").read_bytes()), random.Random(1)
    begin = data.find(b"mdat") + 4000
    for _ in range(400):
        data[dice.randrange(begin, len(data))] = dice.randrange(256)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        missing, empty, text, noise(1), noise(2), noise(3), start_codes, folder, playlist, script, rotten,
        cut("plain.mp4", 0.6), cut("faststart.mp4", 0.6), cut("faststart.mp4", 0.95), cut("subtitled.mkv", 0.6), cut("transport.ts", 0.599),
    ],
)  # fmt: skip
def test_damage_is_told_and_never_completed(
    bench: Any, clips: Any, tmp_path: Path, damage: Callable[[Path, Any], None]
) -> None:
    source = tmp_path / "film.mp4"
    damage(source, clips)
    with pytest.raises(EngineFailure) as told:
        bench.make(PROFILE, source, tmp_path / "out")
    assert told.value.failure.failure_class is FailureClass.INPUT
    assert told.value.failure.message.startswith(("The input ", "Only plain"))
    assert told.value.failure.message.endswith(".")


def test_rot_is_found_by_strict_decoding_alone(bench: Any, clips: Any, tmp_path: Path) -> None:
    # The probe cannot see it: this proves that the strict options do.
    rotten(tmp_path / "film.mp4", clips)
    assert bench.probe(tmp_path / "film.mp4").video[0].frames == 150


def test_a_name_is_never_an_option_or_a_protocol(bench: Any, clips: Any, tmp_path: Path) -> None:
    source = tmp_path / "-y concat:%d.mp4"
    source.write_bytes(clips("plain.mp4").read_bytes())
    made = bench.make(PROFILE, source, tmp_path / "out %d:x")
    assert made.findings == ()


def test_a_file_that_exists_is_not_replaced(bench: Any, clips: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "video.mp4").write_text("precious")
    with pytest.raises(EngineFailure) as told:
        bench.make(PROFILE, clips("plain.mp4"), out)
    assert told.value.failure.failure_class is FailureClass.OUTPUT_EXISTS
    assert (out / "video.mp4").read_text() == "precious"
