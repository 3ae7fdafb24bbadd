"""Frames of a rendition beside those of the source: the same frame, every pixel of it, whatever the source and the packaging."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, Bench, Made, ffmpeg

from millrace.domain.media.profile_document import ProfileError, profile_from
from millrace.worker.media_steps import write_files

WIDE, HIGH, SECONDS = 160, 90, 6
CAPTION = 16
EXACT = {"codec": "h264", "preset": "ultrafast", "crf": 0}
"""Without loss, so that both halves are equal where they show the same frame, and only there: every frame differs from the next."""


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("moving")

    def made(kind: str) -> Path:
        path = folder / f"moving.{kind}"
        if not path.exists():
            bars = f"testsrc2=s={WIDE}x{HIGH}:r=25:d={SECONDS}"
            ffmpeg(
                *("-f", "lavfi", "-i", bars, "-f", "lavfi", "-i", f"sine=d={SECONDS}", "-c:v", "libx264"),
                *("-preset", "veryfast", "-g", "20", "-bf", "2", "-c:a", "aac", str(path)),
            )
        return path

    return made


def profile(packaging: str, **more: Any) -> Any:
    document = {
        "name": "looked-at",
        "packaging": packaging,
        "renditions": [{"name": "r", "video": EXACT}],
        "audio": [{"codec": "aac"}],
        "segment_s": 1,
        "comparison": {"frames": 3},
    }
    return profile_from({**document, **more})


def rgb(path: Path, *options: str) -> bytes:
    """Pictures as rows of three bytes for each pixel."""
    command = [BINARY, "-nostdin", "-v", "error", "-i", str(path), *options, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def pictures(bench: Bench, made: Made, source: Path | None) -> dict[int, bytes]:
    """By the number of its frame, each picture of the first rendition, as a worker has it made."""
    file, work = made.plan.files[0], made.folder.with_name(made.folder.name + ".shown")
    found = {}
    for moment in made.plan.comparison:
        one = bench.engine.side_by_side(made.plan, file, moment, source=source, folder=made.folder, work=work)
        write_files(work, one.files)
        bench.must(one.command)
        found[moment.first] = rgb(work / one.picture)
    return found


def halves(picture: bytes, wide: int = WIDE, high: int = HIGH) -> tuple[bytes, bytes, bytes]:
    """The caption, the left half and the right half."""
    row = 2 * wide * 3
    assert len(picture) == row * (high + CAPTION)
    rows = [picture[at : at + row] for at in range(CAPTION * row, len(picture), row)]
    return (
        picture[: CAPTION * row],
        b"".join(one[: row // 2] for one in rows),
        b"".join(one[row // 2 :] for one in rows),
    )


def frame_of(source: Path, number: int) -> bytes:
    """The nth frame of a film that needs no filter, decoded by itself."""
    return rgb(source, "-vf", f"select=eq(n\\,{number}),scale={WIDE}:{HIGH}:flags=bicubic,setsar=1", "-frames:v", "1")


def most_apart(one: bytes, other: bytes) -> int:
    assert len(one) == len(other)
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("packaging", ["mp4", "mkv", "cmaf", "hls"])
def test_both_halves_show_the_same_frame_and_the_left_one_is_the_sources(
    bench: Bench, moving: Callable[[str], Path], tmp_path: Path, kind: str, packaging: str
) -> None:
    source = moving(kind)
    made = bench.make(profile(packaging), source, tmp_path / "out")
    assert made.findings == ()
    shown = pictures(bench, made, source)
    # Where the sound begins before the pictures, the first of them stands in the places until then.
    late = round((made.probe.video[0].start - made.probe.start) * 25)
    assert list(shown) == [made.plan.frames * part // 6 for part in (1, 3, 5)]
    for number, picture in shown.items():
        caption, left, right = halves(picture)
        # A transport stream does not say where its chroma lies, the rendition does: that is a level, the next frame is a hundred.
        slack = 2 if kind == "ts" else 0
        assert most_apart(left, frame_of(source, number - late)) <= slack, f"frame {number} of the source"
        assert most_apart(left, right) <= slack, f"frame {number} of the rendition"
        assert most_apart(left, frame_of(source, number - late + 1)) > 100
        row = 2 * WIDE * 3
        for begin in (0, row // 2):
            written = b"".join(caption[at + begin : at + begin + row // 2] for at in range(0, len(caption), row))
            assert len(set(written)) > 1, "nothing is written above this half"


def test_a_rendition_is_shown_at_its_own_size_and_a_film_in_chunks_from_its_key_frames(
    bench: Bench, moving: Callable[[str], Path], tmp_path: Path
) -> None:
    source = moving("mp4")
    rungs = [{"name": "small", "video": {**EXACT, "height": 44}}]
    made = bench.make(profile("cmaf", renditions=rungs), source, tmp_path / "out", chunks="always")
    assert not made.plan.split.is_whole
    assert [moment.seek is None for moment in made.plan.comparison] == [False, False, False]
    size = made.plan.videos[0].size
    for picture in pictures(bench, made, source).values():
        _, left, right = halves(picture, size.width, size.height)
        assert left == right


@pytest.mark.parametrize("name", ["variable.mp4", "late_video.mkv", "interlaced.mp4", "turned.mp4", "anamorphic.mp4"])
def test_what_the_plan_does_to_the_source_is_done_to_the_left_half(
    bench: Bench, clips: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    source = clips(name)
    made = bench.make(profile("mkv"), source, tmp_path / "out")
    size = made.plan.videos[0].size
    for picture in pictures(bench, made, source).values():
        _, left, right = halves(picture, size.width, size.height)
        assert left == right


def test_a_generated_clip_is_its_own_source(bench: Bench, tmp_path: Path) -> None:
    wanted = profile("mp4", generate={"width": WIDE, "height": HIGH, "rate": 25})
    made = bench.make(wanted, None, tmp_path / "out", duration_s=2)
    for picture in pictures(bench, made, None).values():
        _, left, right = halves(picture)
        assert left == right


def test_a_film_of_two_frames_has_two_moments(bench: Bench, tmp_path: Path) -> None:
    wanted = profile("mp4", generate={"width": WIDE, "height": HIGH, "rate": 25}, comparison={"frames": 20})
    made = bench.make(wanted, None, tmp_path / "out", duration_s=0.08)
    assert [moment.first for moment in made.plan.comparison] == [0, 1]


def test_what_makes_no_pictures_has_nothing_to_compare() -> None:
    with pytest.raises(ProfileError, match="comparison has nothing to compare"):
        profile_from({"name": "a", "packaging": "m4a", "audio": [{"codec": "aac"}], "comparison": {}})
    with pytest.raises(ProfileError, match=r"comparison\.frames"):
        profile("mp4", comparison={"frames": 21})
