"""A job divided over several workers, through HTTP: who is asked, the division, what is handed on, and who may have it."""

import asyncio
import functools
import hashlib
from pathlib import Path
from typing import Any

import pytest
from api_serving import ENCODERS, Node, Rig, on_master, serving

from millrace.domain.ids import job_of
from millrace.domain.records import NewNode
from millrace.programs.master import _Forgetter
from millrace.scheduler.clean import clean_pieces
from millrace.scheduler.expire import reclaim
from millrace.scheduler.farm import Rules

ABILITY = "ffmpeg-parts-0123456789ab"
SKILL = {"engine": ABILITY, "encoders": ["libx264", "aac"]}
PLAN = {"plan": {"chunks": 2}, "source_bytes": 7}
PARTS = [{"kind": "sides"}, {"kind": "chunk", "number": 0, "frames": 50}, {"kind": "chunk", "number": 1, "frames": 40}]


async def joins(rig: Rig, name: str, *, ability: str = ABILITY, slots: int = 2) -> Node:
    """A worker that can make parts."""
    body = {
        "fingerprint": f"print-{name.encode().hex()}",
        "boot_id": "boot-0001",
        "name": name,
        "slots": slots,
        "engines": ["ffmpeg", ability],
        "encoders": ENCODERS,
    }
    reply = await rig.post("/v1/nodes", body)
    return Node(rig, reply["node"], reply["epoch"])


async def divided(rig: Rig, one: Node) -> Any:
    """A job that this node has divided; its lead task as it was claimed."""
    await rig.submit(input="/media/film.mp4")
    (task,) = await one.claim()
    assert (await one.report("split", task, **SKILL, parts=PARTS, plan=PLAN))["state"] == "pending"
    return task


async def hand_on(node: Node, task: Any, name: str, data: bytes, *, status: int = 200) -> Any:
    response = await node.rig.call(
        "PUT",
        f"/v1/tasks/{task['task']}/outputs/{name}",
        params={"node": node.id, "attempt": task["attempt"]},
        content=data,
    )
    assert response.status_code == status, response.text
    return response.json()


async def made(node: Node, task: Any, name: str, data: bytes) -> Any:
    view = await hand_on(node, task, name, data)
    piece = {"name": name, "location": view["url"], "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return await node.report("complete", task, outputs=[piece])


@on_master
async def test_helpers_are_the_free_slots_of_others_that_can_make_the_same_parts(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two", slots=3)
    await joins(rig, "other-build", ability="ffmpeg-parts-ba9876543210")
    await rig.register("old")
    await rig.submit()
    await rig.submit()
    (task,) = await one.claim()
    ask = functools.partial(one.report, "helpers", task)
    assert await ask(**SKILL) == {"slots": 3, "reason": ""}
    (held,) = await two.claim()
    assert (await ask(**SKILL))["slots"] == 2
    assert (await ask(engine=ABILITY, encoders=["libx265"]))["slots"] == 0
    await rig.post("/v1/nodes/two/drain")
    assert (await ask(**SKILL))["slots"] == 0
    assert (await one.report("helpers", held, status=409, **SKILL))["type"].endswith("stale-attempt")


def test_a_farm_may_divide_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, rules=Rules(split=False)) as rig:
            one, _ = await joins(rig, "one"), await joins(rig, "two")
            await rig.submit()
            (task,) = await one.claim()
            asked = await one.report("helpers", task, **SKILL)
            assert (asked["slots"], asked["reason"]) == (0, "this farm divides no films over workers")
            problem = await one.report("split", task, status=409, **SKILL, parts=PARTS, plan=PLAN)
            assert problem["detail"].startswith("cannot divide")
            assert (await rig.get("/v1/jobs/1"))["state"] == "assigned"

    asyncio.run(work())


@on_master
async def test_a_division_that_comes_twice_gets_the_first_answer_and_a_stale_one_changes_nothing(rig: Rig) -> None:
    one = await joins(rig, "one")
    await rig.submit(input="/media/film.mp4")
    (task,) = await one.claim()
    late = {**task, "attempt": 2}
    body = {**SKILL, "parts": PARTS, "plan": PLAN}
    assert (await one.report("split", late, status=409, **body))["type"].endswith("stale-attempt")
    other = await joins(rig, "two")
    assert (await other.report("split", task, status=409, **body))["type"].endswith("stale-attempt")
    assert [one["kind"] for one in (await rig.get("/v1/jobs/1"))["tasks"]] == ["whole"]
    first = await one.report("split", task, **body)
    assert await one.report("split", task, **body) == first == {"task": task["task"], "state": "pending"}
    shown = await rig.get("/v1/jobs/1")
    assert [(one["kind"], one["state"]) for one in shown["tasks"]] == [
        ("join", "pending"), ("sides", "queued"), ("chunk", "queued"), ("chunk", "queued"),
    ]  # fmt: skip
    assert shown["state"] == "processing"
    assert (shown["attempts"][0]["outcome"], shown["attempts"][0]["reason"]) == (
        "split", "divided into 3 parts, and waits for them",
    )  # fmt: skip
    assert [(one["task"], one["to"]) for one in shown["transitions"]][2:] == [
        (task["task"], "pending"), *((f"{shown['id']}.{n}", "queued") for n in (2, 3, 4)),
    ]  # fmt: skip


@on_master
async def test_who_cannot_make_parts_divides_nothing_and_is_given_none(rig: Rig) -> None:
    old, one = await rig.register("old"), await joins(rig, "one")
    await rig.submit(input="/media/film.mp4")
    (task,) = await old.claim()
    problem = await old.report("split", task, status=409, **SKILL, parts=PARTS, plan=PLAN)
    assert "the engine ffmpeg-parts" in problem["detail"]
    assert (await old.report("hand-back", task, reason="it is not for me"))["state"] == "queued"
    (task,) = await one.claim()
    await one.report("split", task, **SKILL, parts=PARTS, plan=PLAN)
    assert await old.claim(limit=9) == []
    assert [one["part"]["kind"] for one in await one.claim(limit=2)] == ["sides", "chunk"]


@on_master
async def test_pieces_go_from_those_who_make_them_to_the_one_who_joins_them(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two", slots=3)
    task = await divided(rig, one)
    parts = await two.claim(limit=9)
    assert [(part["part"]["kind"], part["part"]["number"]) for part in parts] == [
        ("sides", 0),
        ("chunk", 0),
        ("chunk", 1),
    ]
    assert all(part["part"]["plan"] == PLAN for part in parts)
    assert parts[0]["spec"]["input"] == "/media/film.mp4"
    lost = {"name": "pieces/x", "location": f"/v1/jobs/{task['job']}/outputs/pieces/x", "sha256": "0" * 64, "size": 1}
    await two.report("complete", parts[0], status=422, outputs=[lost])
    for number, part in enumerate(parts):
        assert (await rig.get("/v1/jobs/1"))["state"] == "processing"
        assert (await made(two, part, f"pieces/p{number}/a.m4s", b"piece" * (number + 1)))["state"] == "completed"
    assert (await rig.get("/v1/jobs/1"))["outputs"] == []
    (join,) = await one.claim()
    assert (join["task"], join["attempt"], join["part"]["kind"], join["part"]["plan"]) == (
        task["task"],
        2,
        "join",
        PLAN,
    )
    who = {"node": one.id, "attempt": 2}
    found = (await rig.get(f"/v1/tasks/{join['task']}/parts", params=who))["parts"]
    assert [(part["position"], part["node_name"], [piece["name"] for piece in part["pieces"]]) for part in found] == [
        (n + 2, "two", [f"pieces/p{n}/a.m4s"]) for n in range(3)
    ]
    path = f"/v1/tasks/{join['task']}/pieces/4/pieces/p2/a.m4s"
    whole = await rig.call("GET", path, params=who)
    assert whole.content == b"piece" * 3
    rest = await rig.call("GET", path, params=who, headers={"range": "bytes=10-"})
    assert (rest.status_code, rest.content) == (206, b"piece")
    for wrong, status in (
        ("4/pieces/p1/a.m4s", 404),
        ("9/pieces/p2/a.m4s", 404),
        ("1/pieces/p2/a.m4s", 404),
        ("x/a", 404),
    ):
        response = await rig.call("GET", f"/v1/tasks/{join['task']}/pieces/{wrong}", params=who)
        assert response.status_code == status, wrong
    assert (await rig.call("GET", path, params={"node": two.id, "attempt": 2})).status_code == 409
    assert (await rig.call("GET", "/v1/jobs/1/outputs/pieces/p2/a.m4s")).status_code == 404


def test_the_page_of_a_job_lists_its_tasks(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, with_pages=True) as rig:
            one = await joins(rig, "one")
            await divided(rig, one)
            await one.claim()
            shown = (await rig.call("GET", "/ui/jobs/1/part")).text
            assert "<h2>Tasks" in shown
            assert [word for word in ("join", "sides", "chunk", "50 frames", "attempt 1") if word not in shown] == []
            await rig.submit()
            assert "<h2>Tasks" not in (await rig.call("GET", "/ui/jobs/2/part")).text

    asyncio.run(work())


@on_master
async def test_a_part_that_fails_ends_the_job_and_stops_the_others(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two")
    await divided(rig, one)
    (first,) = await one.claim()
    (second,) = await two.claim()
    await two.report("fail", second, **{"class": "input", "message": "cannot decode frame 7"})
    shown = await rig.get("/v1/jobs/1")
    assert (shown["state"], shown["failure"]) == ("failed", {"class": "input", "message": "cannot decode frame 7"})
    assert [part["state"] for part in shown["tasks"]] == ["failed", "canceled", "failed", "canceled"]
    beat = {"epoch": one.epoch, "tasks": [{"task": first["task"], "attempt": 1}]}
    reply = await rig.post(f"/v1/nodes/{one.id}/heartbeat", beat)
    assert [(one["task"], one["action"]) for one in reply["directives"]] == [(first["task"], "cancel")]
    assert [job["number"] for job in (await rig.get("/v1/jobs", params={"state": "failed"}))["jobs"]] == [1]


@on_master
async def test_a_lost_worker_costs_only_the_part_in_its_hands(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two")
    await divided(rig, one)
    first, second = await two.claim(limit=2)
    await made(two, first, "pieces/a", b"a")
    await rig.farm.store.register(await _as_new(rig, "two"))  # the same machine starts anew
    assert await reclaim(rig.farm) == 1
    states = {part["task"]: part["state"] for part in (await rig.get("/v1/jobs/1"))["tasks"]}
    assert (states[first["task"]], states[second["task"]]) == ("completed", "queued")


async def _as_new(rig: Rig, name: str) -> NewNode:
    node = await rig.farm.store.node(name)
    assert node is not None
    return NewNode(
        id=node.id,
        fingerprint=node.fingerprint,
        boot_id="boot-0002",
        name=name,
        slots=2,
        labels={},
        facts=node.facts,
        ttl_s=15.0,
    )


@pytest.mark.parametrize("end", ["cancel", "complete"])
def test_what_was_handed_on_is_deleted_when_the_job_has_ended(tmp_path: Path, end: str) -> None:
    async def work() -> None:
        async with serving(tmp_path) as rig:
            one = await joins(rig, "one", slots=4)
            task = await divided(rig, one)
            forget = _Forgetter(rig.app.master.blobs).pieces
            for part in await one.claim(limit=9):
                await made(one, part, "pieces/a.m4s", b"piece")
            pieces = tmp_path / "blobs" / "jobs" / job_of(task["task"])
            await clean_pieces(rig.farm, forget)
            assert len([*pieces.rglob("a.m4s")]) == 3
            if end == "cancel":
                await rig.post("/v1/jobs/1/cancel")
            else:
                (join,) = await one.claim()
                view = await hand_on(one, join, "video.mp4", b"film")
                output = {"name": "video.mp4", "location": view["url"], "sha256": view["sha256"], "size": 4}
                await one.report("complete", join, outputs=[output])
            await clean_pieces(rig.farm, forget)
            assert [*pieces.rglob("a.m4s")] == []
            assert len([*pieces.rglob("video.mp4")]) == (end == "complete")
            assert list(await rig.farm.store.ended_splits(limit=9)) == []

    asyncio.run(work())
