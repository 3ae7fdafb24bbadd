"""A film that comes over the network, on two workers: what they fetch of it, and that it stays the film whatever they lack."""

import asyncio
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from api_serving import Rig
from farm_worker import FFMPEG
from test_worker_division import ended, farm, frames, made, profile

from millrace.domain.media.byte_ranges import Span
from millrace.worker import part_ranges

SECONDS = 24
ATTEMPT = re.compile(r"^\S+ job \d+,", re.MULTILINE)
FETCHED = re.compile(r"fetch: ([\d.]+) MB, of which ([\d.]+) came over the network")


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures in large frames: the rate is constant, and what the pictures do not need is filled up."""
    path = tmp_path_factory.mktemp("long") / "film.mp4"
    rate = "nal-hrd=cbr:filler=1:bitrate=2000:vbv-maxrate=2000:vbv-bufsize=2000:keyint=25:log=-1"
    inputs = [f"testsrc2=size=128x72:rate=25:duration={SECONDS}", f"sine=duration={SECONDS}:sample_rate=48000"]
    subprocess.run(
        [
            *(str(FFMPEG), "-v", "error", *(part for one in inputs for part in ("-f", "lavfi", "-i", one))),
            *("-c:v", "libx264", "-preset", "ultrafast", "-x264-params", rate, "-c:a", "aac", str(path)),
        ],
        check=True,
    )
    return path


async def uploaded(rig: Rig, film: Path) -> str:
    data = await asyncio.to_thread(film.read_bytes)
    upload = await rig.post("/v1/uploads", {"name": film.name, "size": len(data)}, status=201)
    headers = {"content-type": "application/offset+octet-stream", "upload-offset": "0"}
    sent = await rig.call("PATCH", f"/v1/uploads/{upload['id']}", content=data, headers=headers)
    assert sent.status_code == 200, sent.text
    return f"upload://{upload['id']}"


async def divided(rig: Rig, film: Path, out: Path) -> tuple[Any, str]:
    """The job when it has ended, and all that was said of it."""
    job = await rig.submit(
        scenario=None,
        profile=profile("mp4"),
        input=await uploaded(rig, film),
        output=str(out),
        parameters={"chunks": "always"},
    )
    job = await ended(rig, job["number"])
    assert job["state"] == "completed", job["failure"]
    return job, (await rig.call("GET", f"/v1/jobs/{job['number']}/logs")).text


def moved(log: str) -> list[float]:
    """What each attempt fetched, in parts of the film."""
    return [float(came) / float(whole) for whole, came in FETCHED.findall(log)]


async def check_frames(rig: Rig, film: Path, tmp_path: Path) -> None:
    whole = await made(rig, film, tmp_path / "out" / "whole", profile("mp4"), "never")
    assert len(whole["tasks"]) == 1
    for kind in ("v", "a"):
        found, wanted = (frames(tmp_path / "out" / name / "video.mp4", kind) for name in ("divided", "whole"))
        assert len(wanted) >= SECONDS * 25
        assert found == wanted


def test_each_part_fetches_its_frames_and_little_more(tmp_path: Path, long_film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        job, log = await divided(rig, long_film, tmp_path / "out" / "divided")
        chunks = [task for task in job["tasks"] if task["kind"] == "chunk"]
        assert len(chunks) >= 2
        parts = sorted(moved(log))
        assert len(parts) == len(job["tasks"])
        assert sum(parts[: len(chunks)]) < 1.6
        assert parts[len(chunks) - 1] < 0.8
        await check_frames(rig, long_film, tmp_path)

    farm(tmp_path, long_film, scenario)


def test_who_has_fetched_all_of_it_fetches_nothing_more(tmp_path: Path, long_film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        _, log = await divided(rig, long_film, tmp_path / "out" / "divided")
        for worker in ("w0", "w1"):
            # A worker of one slot does one after the other, in the order of their numbers.
            own = [
                part for attempt in ATTEMPT.split(log) if f"/{worker}/scratch/" in attempt for part in moved(attempt)
            ]
            after = own[own.index(1.0) + 1 :] if 1.0 in own else []
            assert not any(after)

    farm(tmp_path, long_film, scenario, kept_bytes=1 << 30)


def test_a_range_that_is_missing_costs_a_fetch_and_never_a_frame(
    tmp_path: Path, long_film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = part_ranges.needs

    def lacking(*of: Any) -> Mapping[str, tuple[Span, ...]]:
        """A hole as long as five frames, in the middle of the longest range of each part."""
        return {
            name: tuple(left for span in spans for left in _holed(span, max(spans, key=_length)))
            for name, spans in needs(*of).items()
        }

    monkeypatch.setattr(part_ranges, "needs", lacking)

    async def scenario(rig: Rig) -> None:
        job, log = await divided(rig, long_film, tmp_path / "out" / "divided")
        chunks = [task for task in job["tasks"] if task["kind"] == "chunk"]
        assert log.count("it is made once more, from all of the input") >= len(chunks)
        assert {task["attempt"] for task in job["tasks"][1:]} == {1}
        await check_frames(rig, long_film, tmp_path)

    farm(tmp_path, long_film, scenario)


def _length(span: Span) -> int:
    return span[1] - span[0]


def _holed(span: Span, longest: Span) -> list[Span]:
    if span != longest:
        return [span]
    middle = (span[0] + span[1]) // 2
    return [(span[0], middle), (middle + 50_000, span[1])]
