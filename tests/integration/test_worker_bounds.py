"""A worker whose engines have bounds: who takes more is ended with a reason, and what is not in force is told."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_master import FakeMaster
from farm_worker import ffmpeg_source, running
from test_worker_ffmpeg import TINY, ended, film, spec

from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.process.cgroup import Placed, Resources
from millrace.process.grounds import Grounds, Place, close_grounds, grounds, rehearsed

LIMIT = 96_000_000
LARGE = {
    "name": "large",
    "packaging": "mp4",
    "renditions": [{"video": {"codec": "h264", "height": 2160, "preset": "medium"}}],
}
GENERATED = {"input": None, "profile": LARGE, "parameters": {"duration_s": 2}}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    bases = grounds().bases
    close_grounds()
    assert [base for base in bases if base.exists()] == []


def run(folder: Path, *orders: dict[str, Any], **terms: Any) -> list[Any]:
    """The tasks of a worker as they have ended."""
    media = folder / "media"
    media.mkdir()

    async def main() -> list[Any]:
        with FakeMaster() as master:
            async with running(master, folder, [ffmpeg_source()], roots=[media], **terms):
                source = film(media / "film.mp4")
                return [await ended(master, master.add(spec(**{"input": str(source), **order}))) for order in orders]

    return asyncio.run(main())


def test_an_engine_that_wants_too_much_memory_ends_with_a_sentence_and_others_go_on(tmp_path: Path) -> None:
    if missing := rehearsed(Resources(memory_bytes=LIMIT)).missing:
        pytest.skip(f"this machine gives us no control group for memory: {missing[0]}")
    small, large = run(tmp_path, {"profile": TINY}, GENERATED, engine_memory_bytes=LIMIT)
    assert small.failure is None, small.log
    assert small.facts["limits"] == {
        "in_force": ["memory: 96 MB", "open files: 1024", "no core files"],
        "missing": [],
    }
    assert "limits: memory: 96 MB, open files: 1024, no core files\n" in small.log
    assert large.failure[0] == "resource", large.log
    assert "the engine wanted more than its memory limit of 96 MB and was killed" in large.failure[1]
    assert "MILLRACE_ENGINE_MEMORY_MB" in large.failure[1]


def test_without_a_control_group_the_work_is_done_and_the_record_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(self: Grounds, resources: Resources) -> Place:
        return Place((), Placed(missing=("memory: no control group of ours has it",)))

    monkeypatch.setattr(Grounds, "place", none)
    with caplog.at_level(logging.WARNING):
        (task,) = run(tmp_path, {"profile": TINY}, engine_memory_bytes=LIMIT)
    assert task.failure is None, task.log
    assert task.facts["limits"] == {
        "in_force": ["open files: 1024", "no core files"],
        "missing": ["memory: no control group of ours has it"],
    }
    assert "not in force: memory: no control group of ours has it" in task.log
    assert [one.getMessage() for one in caplog.records if "memory_limit" in one.getMessage()] == [
        "worker.memory_limit_missing"
    ]


def test_a_file_that_outgrows_its_plan_ends_the_encode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.engines.ffmpeg.arguments.file_bytes", lambda _: 2000)
    (task,) = run(tmp_path, {"profile": TINY})
    assert task.failure == (
        "output",
        "A file of the output grew larger than what was planned could be without compression.",
    )


def test_an_encode_that_makes_more_than_was_planned_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A film that is longer for the decoder than it was for the probe."""
    monkeypatch.setattr("millrace.worker.media_steps.FRAMES_BEYOND", -24)
    (task,) = run(tmp_path, {"profile": {**TINY, "renditions": [{"video": {"codec": "h264", "preset": "veryslow"}}]}})
    assert task.failure[0] == "output"
    assert "where 25 were planned; the input contradicts itself" in task.failure[1]


def test_engines_have_few_files_and_leave_no_cores(tmp_path: Path) -> None:
    binary = tmp_path / "ffmpeg"
    source = ffmpeg_source()
    binary.write_text(
        f'#!/bin/sh\ncase "$*" in *progress*) cat /proc/self/limits >&2;; esac\nexec {source.binary} "$@"\n'
    )
    binary.chmod(0o755)
    telling = type(source)(
        name="ffmpeg", binary=binary, encoders=source.encoders, bind=lambda working: FFmpeg(binary, working=working)
    )
    media = tmp_path / "media"
    media.mkdir()

    async def main() -> Any:
        with FakeMaster() as master:
            async with running(master, tmp_path, [telling], roots=[media]):
                return await ended(master, master.add(spec(input=str(film(media / "film.mp4")))))

    task = asyncio.run(main())
    assert task.failure is None, task.log
    found = {line.split("  ")[0]: line.split()[-3:-1] for line in task.log.splitlines() if line.startswith("Max ")}
    assert found["Max open files"] == ["1024", "1024"]
    assert found["Max core file size"] == ["0", "0"]
    assert task.facts["limits"]["missing"] == []
