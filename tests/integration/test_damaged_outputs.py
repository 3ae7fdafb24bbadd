"""A bit that a disk has turned in a kept output: no answer that is complete holds it, and who takes only a part can tell."""

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_serving import KEY, Rig, listening

from millrace.blobs.values import CHUNK_BYTES
from millrace.client.client import Client
from millrace.client.errors import InterruptedTransferError, RefusedError
from millrace.client.http import Terms
from millrace.client.transfers import download_output

SMALL, LARGE = b"0123456789" * 1000, bytes(range(256)) * (CHUNK_BYTES * 5 // 2 // 256)


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


async def kept(rig: Rig, data: bytes) -> str:
    """The URL of a job's output with these bytes."""
    await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    path = f"/v1/tasks/{task['task']}/outputs/film.mp4?node={node.id}&attempt=1"
    made = (await rig.call("PUT", path, content=data)).json()
    report = {"name": "film.mp4", "location": made["url"], "sha256": made["sha256"], "size": made["size"]}
    await node.report("complete", task, outputs=[report])
    return str(made["url"])


def only(folder: Path) -> Path:
    """The only output that is kept below a folder."""
    (path,) = (one for one in folder.rglob("film.mp4") if one.is_file())
    return path


def flip(folder: Path, place: int) -> None:
    """Turn one bit of it."""
    data = bytearray(only(folder).read_bytes())
    data[place] ^= 1
    only(folder).write_bytes(data)


async def begins(rig: Rig, url: str) -> tuple[httpx2.Response, bytes, bool]:
    """What comes of an answer, and whether it was whole."""
    found = b""
    async with rig.client.stream("GET", url) as answer:
        try:
            async for piece in answer.aiter_raw():
                found += piece
        except httpx2.RemoteProtocolError:
            return answer, found, False
    return answer, found, True


@pytest.mark.parametrize("place", [0, len(SMALL) - 1])
def test_a_small_output_that_is_damaged_is_not_sent(tmp_path: Path, place: int) -> None:
    async def work() -> None:
        async with listening(tmp_path) as rig:
            url = await kept(rig, SMALL)
            assert (await rig.call("GET", url)).content == SMALL
            flip(tmp_path, place)
            for headers in ({}, {"range": "bytes=100-199"}):
                answer = await rig.call("GET", url, headers=headers)
                assert (answer.status_code, answer.json()["type"]) == (410, "urn:millrace:problem:damaged")
                assert "submit the job again" in answer.json()["detail"]

    asyncio.run(work())


@pytest.mark.parametrize("place", [0, CHUNK_BYTES + 1, len(LARGE) - 1])
def test_of_a_large_output_that_is_damaged_the_end_is_kept_back(tmp_path: Path, place: int, caplog: Any) -> None:
    async def work() -> None:
        async with listening(tmp_path) as rig:
            url = await kept(rig, LARGE)
            answer, found, whole = await begins(rig, url)
            assert (found, whole, answer.headers["repr-digest"]) == (LARGE, True, digest(LARGE))
            flip(tmp_path, place)
            answer, found, whole = await begins(rig, url)
            assert (answer.status_code, whole) == (200, False)
            assert len(found) <= len(LARGE) // CHUNK_BYTES * CHUNK_BYTES
            # Who goes on where it broke has all its bytes, and the digest that they have not.
            rest = await rig.call("GET", url, headers={"range": f"bytes={len(found)}-"})
            assert (rest.status_code, rest.headers["repr-digest"]) == (206, digest(LARGE))
            assert digest(found + rest.content) != digest(LARGE)

    asyncio.run(work())
    assert any("outputs.damaged" in one.getMessage() for one in caplog.records)


def test_an_output_that_lost_its_end_is_not_sent(tmp_path: Path) -> None:
    async def work() -> None:
        async with listening(tmp_path) as rig:
            url = await kept(rig, LARGE)
            only(tmp_path).write_bytes(LARGE[:-1])
            assert (await rig.call("GET", url)).status_code == 410

    asyncio.run(work())


def test_our_own_client_takes_no_damaged_output(tmp_path: Path) -> None:
    target = tmp_path / "target.mp4"

    async def work() -> None:
        async with listening(tmp_path / "master") as rig:
            url = await kept(rig, LARGE)
            job = url.split("/")[3]
            with Client([str(rig.client.base_url)], Terms(key=KEY)) as client:
                assert await asyncio.to_thread(download_output, client, job, "film.mp4", target) == len(LARGE)
                target.unlink()
                flip(tmp_path / "master", 5)
                with pytest.raises((RefusedError, InterruptedTransferError), match="not what was recorded"):
                    await asyncio.to_thread(download_output, client, job, "film.mp4", target)

    asyncio.run(work())
    assert list(tmp_path.glob("target*")) == []
