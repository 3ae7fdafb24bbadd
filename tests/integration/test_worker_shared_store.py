"""Workers that reach the masters' store themselves: pieces and outputs go there without a detour, and through a master where need be."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from api_serving import Node, Rig, listening
from test_api_parts import divided as divided_job
from test_api_parts import joins
from test_divided_ranges import uploaded
from test_worker_division import SECONDS, ended, farm, film, frames, profile
from test_worker_division import made as whole

from millrace.api import outputs, parts
from millrace.blobs.local import LocalBlobs

__all__ = ["film"]  # a fixture

DATA = b"piece"


async def stored(node: Node, task: Any, *, status: int = 200, **more: Any) -> Any:
    one = {"name": "out/a.m4s", "sha256": hashlib.sha256(DATA).hexdigest(), "size": len(DATA), **more}
    return await node.report("stored", task, files=[one], status=status)


def test_what_a_worker_has_stored_itself_is_as_good_as_sent(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path / "master") as rig:
            await stores(rig, tmp_path)

    asyncio.run(main())


async def stores(rig: Rig, folder: Path) -> None:
    node = await joins(rig, "one", slots=4)
    await divided_job(rig, node)
    task, *others = await node.claim(limit=9)
    who = {"node": node.id, "attempt": task["attempt"]}
    place = await rig.get(f"/v1/tasks/{task['task']}/place", params=who)
    assert (await stored(node, task, status=422))["errors"][0]["field"] == "files[0]"
    source = folder / "piece"
    source.write_bytes(DATA)
    await LocalBlobs(folder / "master" / "blobs").adopt(f"{place['prefix']}out/a.m4s", source)
    assert (await stored(node, task, size=4, status=422))["errors"][0]["message"] == "has 5 bytes there"
    assert (await stored(node, task, name="../up", status=400))["errors"][0]["field"] == "name"
    (location,) = (await stored(node, task))["locations"]
    assert await stored(node, task) == {"locations": [location]}
    piece = {"name": "out/a.m4s", "location": location, "sha256": hashlib.sha256(DATA).hexdigest(), "size": len(DATA)}
    await node.report("complete", task, outputs=[{**piece, "sha256": "0" * 64}], status=422)
    await node.report("complete", task, outputs=[piece])
    await stored(node, task, status=409)
    for part in others:
        await node.report("complete", part, outputs=[])
    (join,) = await node.claim()
    asked = {"node": node.id, "attempt": 2}
    (first, *_) = (await rig.get(f"/v1/tasks/{join['task']}/parts", params=asked))["parts"]
    assert first["prefix"] == place["prefix"]
    got = await rig.call("GET", f"/v1/tasks/{join['task']}/pieces/{first['position']}/out/a.m4s", params=asked)
    assert got.content == DATA


async def made(rig: Rig, film: Path, tmp_path: Path) -> None:
    """A divided film that the master keeps."""
    job = await rig.submit(
        scenario=None, profile=profile("mp4"), input=await uploaded(rig, film), parameters={"chunks": "always"}
    )
    job = await ended(rig, job["number"])
    assert job["state"] == "completed", job["failure"]
    assert len(job["tasks"]) > 2
    got = await rig.call("GET", f"/v1/jobs/{job['number']}/outputs/video.mp4")
    (tmp_path / "got.mp4").write_bytes(got.content)
    assert len(frames(tmp_path / "got.mp4")) == SECONDS * 25


def test_nothing_goes_through_a_master_that_a_worker_can_store_and_read_itself(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[str] = []

    def through(*_: object) -> None:
        went.append("through")
        raise AssertionError("a piece went through the master")

    monkeypatch.setattr(outputs, "large", through)
    monkeypatch.setattr(parts, "sent", through)

    async def scenario(rig: Rig) -> None:
        await made(rig, film, tmp_path)

    farm(tmp_path, film, scenario, shared=LocalBlobs(tmp_path / "master" / "blobs"))
    assert went == []


def test_a_store_that_is_another_than_the_masters_costs_a_detour(tmp_path: Path, film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await made(rig, film, tmp_path)

    farm(tmp_path, film, scenario, shared=LocalBlobs(tmp_path / "elsewhere"))


def test_a_store_that_does_not_do_is_left_alone_for_a_while(tmp_path: Path, film: Path) -> None:
    class Elsewhere(LocalBlobs):
        tried = 0

        async def adopt(self, key: str, source: Path) -> None:
            self.tried += 1
            await super().adopt(key, source)

    shared = Elsewhere(tmp_path / "elsewhere")

    async def scenario(rig: Rig) -> None:
        for _ in range(2):
            job = await whole(rig, film, None, profile("mp4"), "never")
            assert job["state"] == "completed", job["failure"]
            assert shared.tried == 2  # the film and its proof

    farm(tmp_path, film, scenario, workers=1, shared=shared)
