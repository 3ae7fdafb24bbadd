"""One film on two workers: a real master, the real FFmpeg, and frames compared with those of the same film made whole."""

import asyncio
import json
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from api_serving import KEY, Rig, listening
from farm_worker import FFMPEG, ffmpeg_source, running

from millrace.scheduler.farm import Rules

SECONDS, RATE = 6, 25


def profile(packaging: str, **more: Any) -> dict[str, Any]:
    """Without loss, so that frames can be compared one by one."""
    video = {"codec": "h264", "height": 72, "preset": "ultrafast", "crf": 0}
    times = {"segment_s": 1, "gop_s": 1} if packaging == "cmaf" else {"gop_s": 1}
    return {"name": "exact", "packaging": packaging, "renditions": [{"video": video}], "audio": [{}], **times, **more}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    inputs = [f"testsrc2=size=128x72:rate={RATE}:duration={SECONDS}", f"sine=duration={SECONDS}:sample_rate=48000"]
    subprocess.run(
        [
            *(str(FFMPEG), "-v", "error", *(part for one in inputs for part in ("-f", "lavfi", "-i", one))),
            *("-c:v", "libx264", "-preset", "ultrafast", "-g", "20", "-bf", "2", "-c:a", "aac"),
            *("-metadata", "title=The film", str(path)),
        ],
        check=True,
    )
    return path


def frames(path: Path, kind: str = "v") -> list[str]:
    """Each decoded frame with its time."""
    command = [str(FFMPEG), "-v", "error", "-i", str(path), "-map", f"0:{kind}:0", "-f", "framemd5", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("#")]


def headers(path: Path) -> str:
    """What FFmpeg says of a file."""
    return subprocess.run([str(FFMPEG), "-i", str(path)], capture_output=True, text=True, check=False).stderr


async def ended(rig: Rig, number: int) -> Any:
    """The job when it has ended."""
    async with asyncio.timeout(120):
        while True:
            ring = rig.farm.changes.next_ring
            job = await rig.get(f"/v1/jobs/{number}")
            if job["finished"]:
                return job
            await ring.wait()


def farm(tmp_path: Path, film: Path, scenario: Any, *, workers: int = 2, rules: Rules | None = None) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            rig = await stack.enter_async_context(listening(tmp_path / "master", rules=rules))
            for number in range(workers):
                folder = tmp_path / f"w{number}"
                folder.mkdir()
                await stack.enter_async_context(
                    running(
                        None, folder, [ffmpeg_source()], urls=[str(rig.client.base_url)], key=KEY, name=f"w{number}",
                        roots=[film.parent, tmp_path / "out"],
                    )
                )  # fmt: skip
            (tmp_path / "out").mkdir()
            await scenario(rig)

    asyncio.run(main())


async def made(rig: Rig, film: Path, out: Path | None, document: dict[str, Any], chunks: str) -> Any:
    job = await rig.submit(
        scenario=None,
        profile=document,
        input=str(film),
        output=None if out is None else str(out),
        parameters={"chunks": chunks},
    )
    return await ended(rig, job["number"])


@pytest.mark.parametrize("packaging", ["mp4", "cmaf"])
def test_a_film_that_two_workers_made_is_the_one_that_one_makes(tmp_path: Path, film: Path, packaging: str) -> None:
    async def scenario(rig: Rig) -> None:
        document = profile(packaging, metadata="keep")
        job = await made(rig, film, tmp_path / "out" / "divided", document, "always")
        assert job["state"] == "completed", job["failure"]
        lead, *parts = job["tasks"]
        assert lead["kind"] == "join"
        assert [part["kind"] for part in parts] == ["sides", *["chunk"] * (len(parts) - 1)]
        assert {part["node_name"] for part in parts} == {"w0", "w1"}
        assert sum(part["frames"] for part in parts) == SECONDS * RATE
        assert [part["frames"] for part in parts[1:]] == sorted((part["frames"] for part in parts[1:]), reverse=True)
        whole = await made(rig, film, tmp_path / "out" / "whole", document, "never")
        assert len(whole["tasks"]) == 1
        name = "video.mp4" if packaging == "mp4" else "master.m3u8"
        for kind in ("v", "a"):
            assert frames(tmp_path / "out" / "divided" / name, kind) == frames(tmp_path / "out" / "whole" / name, kind)
        proof = json.loads((tmp_path / "out" / "divided" / "proof.json").read_text())
        by_task = {part["task"]: part for part in parts}
        for chunk in proof["chunks"]:
            maker = by_task[chunk["made_by"]["task"]]
            assert (maker["node_name"], maker["frames"]) == (chunk["made_by"]["node"], chunk["frames"])
        if packaging == "mp4":
            assert "The film" in headers(tmp_path / "out" / "divided" / name)
        log = (await rig.call("GET", f"/v1/jobs/{job['number']}/logs")).text
        assert "pieces to the master" in log
        assert f"job {job['number']}, join, attempt 2" in log

    farm(tmp_path, film, scenario)


def test_an_upload_is_divided_into_a_part_for_each_worker_and_kept_by_the_master(tmp_path: Path, film: Path) -> None:
    data = film.read_bytes()

    async def scenario(rig: Rig) -> None:
        upload = await rig.post("/v1/uploads", {"name": "film.mp4", "size": len(data)}, status=201)
        headers = {"content-type": "application/offset+octet-stream", "upload-offset": "0"}
        sent = await rig.call("PATCH", f"/v1/uploads/{upload['id']}", content=data, headers=headers)
        assert sent.status_code == 200, sent.text
        job = await rig.submit(
            scenario=None, profile=profile("mp4"), input=f"upload://{upload['id']}", parameters={"chunks": "always"}
        )
        job = await ended(rig, job["number"])
        assert job["state"] == "completed", job["failure"]
        assert [task["kind"] for task in job["tasks"]] == ["join", "sides", "chunk", "chunk"]
        film_ = await rig.call("GET", f"/v1/jobs/{job['number']}/outputs/video.mp4")
        (tmp_path / "got.mp4").write_bytes(film_.content)
        assert len(frames(tmp_path / "got.mp4")) == SECONDS * RATE

    farm(tmp_path, film, scenario)


def test_one_worker_alone_cuts_the_film_as_ever(tmp_path: Path, film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        job = await made(rig, film, tmp_path / "out" / "film", profile("mp4"), "always")
        assert job["state"] == "completed", job["failure"]
        assert len(job["tasks"]) == 1
        assert len(job["facts"]["plan"]["chunks"]) > 1

    farm(tmp_path, film, scenario, workers=1)


def test_a_farm_that_may_not_divide_makes_the_film_on_one_worker(tmp_path: Path, film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        job = await made(rig, film, tmp_path / "out" / "film", profile("mp4"), "always")
        assert job["state"] == "completed", job["failure"]
        assert len(job["tasks"]) == 1

    farm(tmp_path, film, scenario, rules=Rules(split=False))
