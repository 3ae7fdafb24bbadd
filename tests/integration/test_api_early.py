"""Jobs that begin before their upload is there, through HTTP: who gets them, what they wait for, and what is never forgotten."""

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from api_serving import ENCODERS, Node, Rig, on_master, serving, time_passed

from millrace.api.uploads import arrived_of
from millrace.blobs.local import LocalBlobs
from millrace.scheduler import arrive
from millrace.scheduler.reject import reject_impossible

SIZE = 100_000
MEDIA = {"content-type": "application/offset+octet-stream"}
ABILITY = "ffmpeg-parts-0123456789ab-early"
SKILL = {"engine": ABILITY, "encoders": ["libx264", "aac"]}


async def joins(rig: Rig, name: str, *engines: str) -> Node:
    body = {
        "fingerprint": f"print-{name.encode().hex()}", "boot_id": "boot-0001", "name": name, "slots": 9,
        "engines": ["ffmpeg", *engines], "encoders": ENCODERS,
    }  # fmt: skip
    reply = await rig.post("/v1/nodes", body)
    return Node(rig, reply["node"], reply["epoch"])


async def announced(rig: Rig, **more: Any) -> str:
    return str((await rig.post("/v1/uploads", {"name": "film.mp4", "size": SIZE}, status=201, **more))["id"])


async def sends(rig: Rig, upload: str, begin: int, end: int, **more: Any) -> None:
    headers = {**MEDIA, "upload-offset": str(begin), **more}
    answer = await rig.call("PATCH", f"/v1/uploads/{upload}", content=bytes(end - begin), headers=headers)
    assert answer.status_code == 200, answer.text


async def states(rig: Rig, job: Any) -> list[str]:
    return [task["state"] for task in (await rig.get(f"/v1/jobs/{job['number']}"))["tasks"]]


async def begun(rig: Rig) -> tuple[str, Any]:
    """An upload without its first byte, and its job."""
    upload = await announced(rig)
    return upload, await rig.submit(input=f"upload://{upload}", early=True)


@on_master
async def test_only_who_can_begin_gets_it_and_only_when_the_beginning_is_there(rig: Rig) -> None:
    old, new = await joins(rig, "old"), await joins(rig, "new", "ffmpeg-early", ABILITY)
    upload, job = await begun(rig)
    assert job["state"] == "pending"
    assert (job["upload"], job["held_back"]) == (
        {"id": upload, "size": SIZE, "arrived": 0, "reason": ""}, "0 % of its upload has arrived",
    )  # fmt: skip
    await sends(rig, upload, 0, 60_000)
    assert (await rig.get(f"/v1/jobs/{job['number']}"))["upload"]["arrived"] == 60_000
    assert await new.claim() == []
    await sends(rig, upload, 60_000, 70_000)
    assert await old.claim() == []
    (task,) = await new.claim()
    # It needs more, and all that has come is served until then.
    content = partial(rig.call, "GET", f"/v1/uploads/{upload}/content")
    assert (await content(headers={"range": "bytes=60000-69999"})).status_code == 206
    for range_ in ({"range": "bytes=60000-70000"}, {"range": "bytes=60000-"}, {}):
        refused = await content(headers=range_)
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:millrace:problem:not-arrived")
    ended = await new.report("hand-back", task, reason="the first 80,000 bytes are needed", awaits=80_000)
    assert ended["state"] == "pending"
    assert await new.claim() == []
    await sends(rig, upload, 70_000, 80_000)
    (task,) = await new.claim()
    # What waits for all of it goes to anybody in the end, and says why until then.
    await new.report("hand-back", task, reason="all of its upload is needed: it is odd", awaits=SIZE)
    job = await rig.get(f"/v1/jobs/{job['number']}")
    assert job["held_back"] == "80 % of its upload has arrived; all of its upload is needed: it is odd"
    assert [one["outcome"] for one in job["attempts"]] == ["handed_back", "handed_back"]
    await sends(rig, upload, 80_000, SIZE)
    (task,) = await old.claim()
    assert task["attempt"] == 3
    assert await rig.farm.store.arriving() == []
    assert (await rig.get(f"/v1/jobs/{job['number']}"))["upload"] is None


@on_master
async def test_where_nobody_can_begin_it_waits_for_all_of_it(rig: Rig) -> None:
    old = await joins(rig, "old")
    upload, job = await begun(rig)
    await sends(rig, upload, 0, SIZE - 1)
    assert await old.claim() == []
    why = await rig.get(f"/v1/jobs/{job['number']}/explain")
    assert [one["lacks"] for one in why["candidates"]] == ["a version that can begin while an upload arrives"]
    time_passed[0] = timedelta(hours=1)
    await reject_impossible(rig.farm)
    assert await states(rig, job) == ["queued"]
    await sends(rig, upload, SIZE - 1, SIZE)
    (task,) = await old.claim()
    assert task["job"] == job["id"]


@on_master
async def test_parts_are_queued_as_their_bytes_arrive_and_for_those_who_know_of_it(rig: Rig) -> None:
    new, other = (
        await joins(rig, "new", "ffmpeg-early", ABILITY),
        await joins(rig, "other", "ffmpeg-parts-0123456789ab"),
    )
    upload, job = await begun(rig)
    await sends(rig, upload, 0, 70_000)
    (task,) = await new.claim()
    parts = [
        {"kind": "chunk", "number": 0, "frames": 50, "awaits": 70_000},
        {"kind": "chunk", "number": 1, "frames": 50, "awaits": 90_000},
        {"kind": "sides", "awaits": SIZE},
    ]
    await new.report("split", task, **SKILL, parts=parts, plan={"source_bytes": SIZE})
    assert await states(rig, job) == ["pending", "queued", "pending", "pending"]
    assert await other.claim(limit=9) == []
    (first,) = await new.claim(limit=9)
    await sends(rig, upload, 70_000, 95_000)
    assert await states(rig, job) == ["pending", "assigned", "queued", "pending"]
    # A part that waits is paused with its job. What is let go too early is handed back, and waits again.
    await rig.post(f"/v1/jobs/{job['number']}/pause")
    await rig.post(f"/v1/jobs/{job['number']}/resume")
    given = await new.claim(limit=9)
    assert len(given) == 2
    await new.report("hand-back", given[1], reason="all of its upload is needed", awaits=SIZE)
    assert await states(rig, job) == ["pending", "assigned", "assigned", "pending"]
    await sends(rig, upload, 95_000, SIZE)
    assert await states(rig, job) == ["pending", "assigned", "assigned", "queued"]
    assert first["task"].endswith(".2")


@on_master
async def test_bytes_that_came_while_a_worker_asked_for_them_are_not_waited_for(rig: Rig) -> None:
    new = await joins(rig, "new", "ffmpeg-early")
    upload, job = await begun(rig)
    await sends(rig, upload, 0, 70_000)
    (task,) = await new.claim()
    await sends(rig, upload, 70_000, SIZE)
    assert (await new.report("hand-back", task, reason="more is needed", awaits=SIZE))["state"] == "queued"
    assert await states(rig, job) == ["queued"]


@on_master
async def test_an_upload_that_nobody_came_back_for_ends_its_job(rig: Rig) -> None:
    upload, job = await begun(rig)
    await sends(rig, upload, 0, 1000)
    assert await rig.app.expire_uploads(before=await rig.farm.store.now() + timedelta(seconds=1)) == 1
    job = await rig.get(f"/v1/jobs/{job['number']}")
    assert (job["state"], job["failure"]) == ("failed", {"class": "input", "message": arrive.GONE})
    assert await rig.farm.store.arriving() == []


@pytest.mark.parametrize("told", [True, False])
def test_another_master_goes_on_where_one_was_killed(tmp_path: Path, told: bool) -> None:
    """Also where that had stored a piece and died before it said so."""

    async def scenario() -> None:
        async with serving(tmp_path) as rig:
            new = await joins(rig, "new", "ffmpeg-early")
            upload, job = await begun(rig)
            await sends(rig, upload, 0, 1000)
        if not told:
            blobs = LocalBlobs(tmp_path / "blobs")

            async def rest() -> Any:
                yield bytes(SIZE - 1000)

            await blobs.put(f"uploads/{upload}/{1000:016d}", rest())
        async with serving(tmp_path) as rig:
            new = Node(rig, new.id, new.epoch)
            assert (await rig.get(f"/v1/jobs/{job['number']}"))["upload"]["arrived"] == 1000
            if told:
                await sends(rig, upload, 1000, SIZE)
            else:
                assert await new.claim() == []
                await arrive.look_after(rig.farm, partial(arrived_of, blobs))
            (task,) = await new.claim()
            assert task["job"] == job["id"]

    asyncio.run(scenario())


def test_an_upload_that_was_deleted_behind_their_backs_is_found_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as rig:
            upload, job = await begun(rig)
            blobs = LocalBlobs(tmp_path / "blobs")
            await blobs.delete(f"uploads/{upload}/upload.json")
            await arrive.look_after(rig.farm, partial(arrived_of, blobs))
            assert (await rig.get(f"/v1/jobs/{job['number']}"))["failure"]["message"] == arrive.GONE

    asyncio.run(scenario())


@on_master
async def test_a_tenant_may_do_so_with_uploads_of_its_own(rig: Rig) -> None:
    new = await joins(rig, "new", "ffmpeg-early")
    made = [
        await rig.post("/v1/keys", {"name": name, "role": "submitter", "tenant": name}, status=201)
        for name in ("a", "b")
    ]
    own, stranger = ({"x-api-key": one["secret"]} for one in made)
    upload = await announced(rig, headers=own)
    body = {"scenario": "720p30-h264", "input": f"upload://{upload}", "early": True}
    await rig.post("/v1/jobs", body, status=422, headers=stranger)
    job = await rig.post("/v1/jobs", body, status=201, headers=own)
    assert job["upload"]["id"] == upload
    await sends(rig, upload, 0, SIZE, **own)
    (task,) = await new.claim()
    assert task["job"] == job["id"]


@on_master
async def test_who_does_not_ask_for_it_or_begins_later_is_refused_as_ever(rig: Rig) -> None:
    upload = await announced(rig)
    first = await rig.submit()
    for more in ({}, {"early": True, "after": [first["id"]]}, {"early": True, "run_after": "2030-01-01T00:00:00Z"}):
        refused = await rig.post(
            "/v1/jobs", {"scenario": "720p30-h264", "input": f"upload://{upload}", **more}, status=422
        )
        assert "0 of 100000 bytes" in refused["errors"][0]["message"]
    batch = {"jobs": [{"scenario": "720p30-h264", "input": f"upload://{upload}", "early": True}]}
    assert "0 of 100000 bytes" in str(await rig.post("/v1/batches", batch, status=422))
    await sends(rig, upload, 0, SIZE)
    assert (await rig.submit(input=f"upload://{upload}", early=True))["state"] == "queued"
