"""Sessions of hardware encoders through HTTP: jobs wait for one, get it as soon as it is free, and hear where there are too few."""

import asyncio
from datetime import timedelta

from api_serving import Node, Rig, on_master, time_passed

from millrace.scheduler.reject import reject_impossible

HARD = {"libx264": "this build has none", "h264_nvenc": "", "aac": ""}


async def card(rig: Rig, name: str = "card", *, sessions: int = 2) -> Node:
    body = {
        "fingerprint": f"print-{name.encode().hex()}", "boot_id": "boot-0001", "name": name, "slots": 4, "engines": ["ffmpeg"],
        "encoders": HARD, "facts": {"sessions": {"nvenc": sessions}},
    }  # fmt: skip
    reply = await rig.post("/v1/nodes", body)
    return Node(rig, reply["node"], reply["epoch"])


@on_master
async def test_a_job_is_given_when_a_session_is_free_and_the_end_of_one_brings_the_next(rig: Rig) -> None:
    node = await card(rig)
    for _ in range(4):
        await rig.submit()
    first, second = *await node.claim(limit=4), *await node.claim(limit=4)
    assert await node.claim(limit=4) == []
    then = {"epoch": node.epoch, "request": "with-the-report", "limit": 1}
    ended = await node.report("fail", first, **{"class": "input", "message": "no video"}, claim=then)
    assert [task["number"] for task in ended["tasks"]] == [3]
    assert await node.claim(limit=4) == []
    # Who waits for work is given it when a session comes back, although its slots were free all the time.
    waiting = asyncio.create_task(node.claim(wait_s=20))
    await rig.post("/v1/jobs/2/cancel")
    assert [task["number"] for task in await waiting] == [4]
    assert second["number"] == 2


@on_master
async def test_the_end_of_a_task_without_a_session_brings_none_that_takes_one(rig: Rig) -> None:
    node = await card(rig, sessions=1)
    await rig.submit()
    await rig.submit(scenario=None, profile="audio", input="/media/film.mp4")
    hard, sound = *await node.claim(), *await node.claim()
    assert (hard["number"], sound["number"]) == (1, 2)
    await rig.submit()
    then = {"epoch": node.epoch, "request": "with-the-report", "limit": 1}
    ended = await node.report("fail", sound, **{"class": "input", "message": "no sound"}, claim=then)
    assert ended["tasks"] == []
    ended = await node.report(
        "fail", hard, **{"class": "input", "message": "no video"}, claim={**then, "request": "another-one"}
    )
    assert [task["number"] for task in ended["tasks"]] == [3]


@on_master
async def test_others_are_not_kept_from_a_job_by_a_card_that_is_full(rig: Rig) -> None:
    node = await card(rig, sessions=1)
    for _ in range(2):
        await rig.submit()
    assert len(await node.claim()) == 1
    waiting = asyncio.create_task(node.claim(wait_s=20))
    while not len(rig.farm.waiting):
        await asyncio.sleep(0)
    soft = await rig.register("soft")
    assert [task["number"] for task in await soft.claim(wait_s=20)] == [2]
    waiting.cancel()
    await asyncio.wait([waiting])


@on_master
async def test_a_ladder_that_takes_more_sessions_than_any_card_has_is_rejected_with_the_reason(rig: Rig) -> None:
    node = await card(rig)
    job = await rig.submit(scenario=None, profile="web-hls")
    assert await node.claim() == []
    time_passed[0] += timedelta(seconds=rig.farm.rules.reject_after_s + 1)
    await card(rig)
    await reject_impossible(rig.farm)
    shown = await rig.get(f"/v1/jobs/{job['number']}")
    assert shown["state"] == "rejected"
    assert "sessions of nvenc at once" in shown["failure"]["message"]


@on_master
async def test_a_node_says_what_its_card_has(rig: Rig) -> None:
    await card(rig, sessions=3)
    (shown,) = (await rig.get("/v1/nodes"))["nodes"]
    assert shown["facts"]["sessions"] == {"nvenc": 3}
