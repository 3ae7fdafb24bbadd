"""Workers that come back with another build while a job is divided: it is planned anew, and neither waits for ever nor is rejected."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from api_serving import ENCODERS, Node, Rig, on_master, time_passed
from test_api_parts import ABILITY, PARTS, PLAN, SKILL, divided, joins, made

from millrace.domain.records import NodeState
from millrace.scheduler.reject import reject_impossible

OTHER = "ffmpeg-parts-ba9876543210"


async def comes_back(rig: Rig, name: str, *, ability: str) -> Node:
    """The worker of this name starts anew, with an engine of this build."""
    body = {
        "fingerprint": f"print-{name.encode().hex()}", "boot_id": f"boot-{hashlib.sha256(ability.encode()).hexdigest()[:8]}",
        "name": name, "slots": 2, "engines": ["ffmpeg", ability], "encoders": ENCODERS,
    }  # fmt: skip
    reply = await rig.post("/v1/nodes", body)
    return Node(rig, reply["node"], reply["epoch"])


def grace_passes(rig: Rig) -> None:
    time_passed[0] += timedelta(seconds=rig.farm.rules.reject_after_s + 1)


async def states(rig: Rig) -> list[str]:
    return [task["state"] for task in (await rig.get("/v1/jobs/1"))["tasks"]]


async def _is_planned_anew(rig: Rig, one: Node) -> None:
    shown = await rig.get("/v1/jobs/1")
    assert (shown["state"], shown["tasks"][0]["kind"]) == ("queued", "whole")
    assert set(await states(rig)) <= {"queued", "completed", "canceled"}
    reasons = [
        move["reason"] for move in shown["transitions"] if move["to"] == "queued" and move["task"].endswith(".1")
    ]
    assert reasons[-1] == f"planned anew: no node of the farm has the engine {ABILITY}"
    # Whoever takes it now divides it among those of its own build.
    (task,) = await one.claim(limit=9)
    assert task.get("part") is None
    await one.report("split", task, **{**SKILL, "engine": OTHER}, parts=PARTS, plan=PLAN)
    parts = await one.claim(limit=9)
    assert len(parts) == 2


@on_master
async def test_parts_that_nobody_can_make_any_more_are_planned_anew_with_their_job(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two")
    await divided(rig, one)
    (first,) = await two.claim()
    await made(two, first, "pieces/a", b"a")
    (held,) = await two.claim()
    one = await comes_back(rig, "one", ability=OTHER)
    assert await reject_impossible(rig.farm) == 0  # the other one still can
    assert held["task"] in {
        task["task"] for task in (await rig.get("/v1/jobs/1"))["tasks"] if task["state"] == "assigned"
    }
    await comes_back(rig, "two", ability=OTHER)
    grace_passes(rig)
    one = await comes_back(rig, "one", ability=OTHER)
    await rig.post(f"/v1/nodes/{one.id}/heartbeat", {"epoch": one.epoch, "tasks": []})
    await reject_impossible(rig.farm)
    await _is_planned_anew(rig, one)


@on_master
async def test_a_join_that_nobody_can_make_any_more_is_planned_anew(rig: Rig) -> None:
    one = await joins(rig, "one", slots=4)
    await divided(rig, one)
    for part in await one.claim(limit=9):
        await made(one, part, f"pieces/{part['task']}", b"piece")
    assert await states(rig) == ["queued", *["completed"] * 3]
    one = await comes_back(rig, "one", ability=OTHER)
    grace_passes(rig)
    await rig.post(f"/v1/nodes/{one.id}/heartbeat", {"epoch": one.epoch, "tasks": []})
    await reject_impossible(rig.farm)
    await _is_planned_anew(rig, one)


@on_master
async def test_a_node_that_fell_silent_within_the_grace_may_come_back(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two")
    await divided(rig, one)
    await comes_back(rig, "one", ability=OTHER)
    time_passed[0] += timedelta(seconds=rig.farm.rules.reject_after_s - 20)
    await rig.post(f"/v1/nodes/{two.id}/heartbeat", {"epoch": two.epoch, "tasks": []})
    time_passed[0] += timedelta(seconds=40)
    await rig.farm.store.expire_leases(limit=9)
    assert [node.state for node in await rig.farm.store.nodes()] == [NodeState.LOST] * 2
    await comes_back(rig, "one", ability=OTHER)
    assert await reject_impossible(rig.farm) == 0
    assert (await rig.get("/v1/jobs/1"))["tasks"][0]["kind"] == "join"
    time_passed[0] += timedelta(seconds=40)
    await reject_impossible(rig.farm)
    assert (await rig.get("/v1/jobs/1"))["tasks"][0]["kind"] == "whole"


@pytest.mark.parametrize("gone", [False, True])
@on_master
async def test_what_nobody_can_do_in_any_way_is_rejected_after_all(rig: Rig, gone: bool) -> None:
    """Planned anew it needs what it needed before it was divided."""
    one = await joins(rig, "one")
    await divided(rig, one)
    body: dict[str, Any] = {
        "fingerprint": f"print-{b'one'.hex()}", "boot_id": "boot-0009", "name": "one", "slots": 2,
        "engines": ["ffmpeg", OTHER], "encoders": {**ENCODERS, "libx264": "it is gone"} if gone else ENCODERS,
    }  # fmt: skip
    for _ in range(2):
        grace_passes(rig)
        await rig.post("/v1/nodes", body)
        await reject_impossible(rig.farm)
    assert (await rig.get("/v1/jobs/1"))["state"] == ("rejected" if gone else "queued")
