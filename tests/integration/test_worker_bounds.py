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
from millrace.worker.bounds import Bounds

LIMIT = 96_000_000
ALWAYS = ["processes: 64", "files: 200000", "open files: 1024", "no core files"]
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
        "in_force": ["memory: 96 MB", *ALWAYS],
        "missing": [],
    }
    assert f"limits: memory: 96 MB, {', '.join(ALWAYS)}\n" in small.log
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
        "in_force": ALWAYS,
        "missing": ["memory: no control group of ours has it"],
    }
    assert "not in force: memory: no control group of ours has it" in task.log
    assert [one.getMessage() for one in caplog.records if "limits_missing" in one.getMessage()] == [
        "worker.limits_missing"
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


def wrapped(folder: Path, script: str, **terms: Any) -> Any:
    """The task of a worker whose FFmpeg does this first when it encodes."""
    binary = folder / "ffmpeg"
    source = ffmpeg_source()
    binary.write_text(f'#!/bin/sh\ncase "$*" in *progress*) {script};; esac\nexec {source.binary} "$@"\n')
    binary.chmod(0o755)
    own = type(source)(
        name="ffmpeg", binary=binary, encoders=source.encoders, bind=lambda working: FFmpeg(binary, working=working)
    )
    media = folder / "media"
    media.mkdir()

    async def main() -> Any:
        with FakeMaster() as master:
            async with running(master, folder, [own], roots=[media], **terms):
                return await ended(master, master.add(spec(input=str(film(media / "film.mp4")))))

    return asyncio.run(main())


CROWDS = {
    "processes": (
        "n=0; while [ $n -lt 100 ]; do sleep 600 & n=$((n+1)); done; wait",
        "resource",
        "the engine started more than 64 processes",
    ),
    "files": (
        "n=0; while [ $n -lt 300 ]; do : > f$n; mkdir d$n; n=$((n+1)); done; sleep 600",
        "output",
        "the engine made more than 500 files",
    ),
    "deep folders": (
        "n=0; while [ $n -lt 300 ]; do mkdir aaaaaaaaaaaaaaaaaaaa; cd -P aaaaaaaaaaaaaaaaaaaa; n=$((n+1)); done; sleep 600",
        "output",
        "the engine made more than 500 files",
    ),
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_an_engine_that_makes_a_crowd_is_ended(crowd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, failure_class, why = CROWDS[crowd]
    for place in ("worker.bounds", "worker.engine_run"):
        monkeypatch.setattr(f"millrace.{place}.FILES", 500)
    monkeypatch.setattr("millrace.worker.engine_run.LOOK_S", 0.1)
    task = wrapped(tmp_path, script)
    assert task.failure[0] == failure_class, task.log
    assert why in task.failure[1]
    # With no such look it stays as long as it likes.
    monkeypatch.setattr(Bounds, "excess", lambda *_, **__: None)
    (tmp_path / "again").mkdir()
    assert wrapped(tmp_path / "again", script, stall_s=1.0).failure[0] == "stalled"


def test_an_engine_gets_no_more_processes_and_threads_than_it_may(tmp_path: Path) -> None:
    if missing := rehearsed(Resources(pids=40)).missing:
        pytest.skip(f"this machine gives us no control group for processes: {missing[0]}")
    script = "n=0; while [ $n -lt 50 ]; do sleep 600 & n=$((n+1)); echo $n here >&2; done; kill $(jobs -p)"
    task = wrapped(tmp_path, script, engine_pids=40)
    assert task.failure is not None
    assert "39 here" in task.log
    assert "41 here" not in task.log
    assert "limits: processes and threads: 40, processes: 64" in task.log
    (tmp_path / "again").mkdir()
    free = wrapped(tmp_path / "again", script)
    assert free.failure is None, free.log
    assert "50 here" in free.log


def test_engines_have_few_files_and_leave_no_cores(tmp_path: Path) -> None:
    task = wrapped(tmp_path, "cat /proc/self/limits >&2")
    assert task.failure is None, task.log
    found = {line.split("  ")[0]: line.split()[-3:-1] for line in task.log.splitlines() if line.startswith("Max ")}
    assert found["Max open files"] == ["1024", "1024"]
    assert found["Max core file size"] == ["0", "0"]
    assert task.facts["limits"]["missing"] == []
