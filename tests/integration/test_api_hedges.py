"""Slow parts of a divided job through HTTP: who is given the second task, what the one that is later is told, and when there is none."""

from datetime import timedelta
from typing import Any

import pytest
from api_serving import Node, Rig, on_master, time_passed
from test_api_parts import PLAN, SKILL, hand_on, joins, made

from millrace.scheduler.hedge import hedge_stragglers

PARTS = [{"kind": "sides"}, *({"kind": "chunk", "number": number, "frames": 50} for number in range(4))]


def later(seconds: float) -> None:
    time_passed[0] += timedelta(seconds=seconds)


async def slow(rig: Rig, one: Node, two: Node) -> Any:
    """A divided job whose last part runs on `one`, while `two` has made all others in two seconds each; that part."""
    await rig.submit(input="/media/film.mp4")
    (task,) = await one.claim()
    await one.report("split", task, **SKILL, parts=PARTS, plan=PLAN)
    others = await two.claim(limit=4)
    (last,) = await one.claim()
    await one.report("start", last)
    later(2)
    for part in others:
        await made(two, part, f"pieces/{part['task']}", b"made")
    return last


async def tasks(rig: Rig) -> list[Any]:
    return list((await rig.get("/v1/jobs/1"))["tasks"])


@on_master
async def test_an_idle_worker_is_given_the_slow_part_too_and_the_first_of_the_two_counts(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two", slots=4)
    last = await slow(rig, one, two)
    later(6)
    await hedge_stragglers(rig.farm)
    assert await one.claim(limit=9) == []
    (hedge,) = await two.claim(limit=9)
    shown = (await tasks(rig))[-1]
    assert (shown["task"], shown["hedges"], shown["kind"], shown["node_name"]) == (
        hedge["task"], last["task"], "chunk", "two",
    )  # fmt: skip
    assert (hedge["part"]["number"], hedge["part"]["plan"]) == (last["part"]["number"], PLAN)
    assert await hedge_stragglers(rig.farm) == 0
    await made(two, hedge, "pieces/chunk", b"of the second")
    # Whoever is later hears it with whatever is said next, and what it has made is taken by nobody.
    await hand_on(one, last, "pieces/chunk", b"of the first", status=409)
    refused = await one.report("complete", last, status=409, outputs=[])
    assert refused["type"].endswith("stale-attempt")
    beat = {"epoch": one.epoch, "tasks": [{"task": last["task"], "attempt": 1}]}
    reply = await rig.post(f"/v1/nodes/{one.id}/heartbeat", beat)
    assert [(told["task"], told["action"]) for told in reply["directives"]] == [(last["task"], "cancel")]
    (join,) = await two.claim()
    parts = (await rig.get(f"/v1/tasks/{join['task']}/parts", params={"node": two.id, "attempt": 2}))["parts"]
    winner = next(part for part in parts if part["beat"])
    assert (len(parts), winner["position"], winner["node_name"], winner["beat"]) == (5, 7, "two", last["task"])
    piece = await rig.call(
        "GET", f"/v1/tasks/{join['task']}/pieces/7/pieces/chunk", params={"node": two.id, "attempt": 2}
    )
    assert piece.content == b"of the second"


@on_master
async def test_a_part_that_is_made_in_time_after_all_ends_its_hedge(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two", slots=4)
    last = await slow(rig, one, two)
    later(6)
    await hedge_stragglers(rig.farm)
    (hedge,) = await two.claim(limit=9)
    await made(one, last, "pieces/chunk", b"of the first")
    await hand_on(two, hedge, "pieces/chunk", b"of the second", status=409)
    states = [task["state"] for task in await tasks(rig)]
    assert states[-2:] == ["completed", "canceled"]
    attempts = (await rig.get("/v1/jobs/1"))["attempts"]
    assert [(one["task"], one["outcome"]) for one in attempts if one["task"] == hedge["task"]] == [
        (hedge["task"], "canceled")
    ]


@on_master
async def test_a_hedge_that_fails_leaves_the_part_to_the_first(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two", slots=4)
    last = await slow(rig, one, two)
    later(6)
    await hedge_stragglers(rig.farm)
    (hedge,) = await two.claim(limit=9)
    await two.report("fail", hedge, **{"class": "input", "message": "cannot decode frame 7"})
    shown = await rig.get("/v1/jobs/1")
    assert (shown["state"], [task["state"] for task in shown["tasks"]][-2:]) == ("processing", ["processing", "failed"])
    await made(one, last, "pieces/chunk", b"of the first")
    (join,) = await two.claim()
    assert join["part"]["kind"] == "join"


@on_master
async def test_no_worker_makes_a_part_twice_that_has_something_else_to_do(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two", slots=4)
    await slow(rig, one, two)
    await rig.submit()
    later(6)
    assert await hedge_stragglers(rig.farm) == 0
    assert len(await tasks(rig)) == 6
    await two.claim()
    await hedge_stragglers(rig.farm)
    assert len(await tasks(rig)) == 7


@pytest.mark.parametrize("why", ["drains", "full"])
@on_master
async def test_no_part_is_made_twice_where_nobody_is_idle(rig: Rig, why: str) -> None:
    # The node itself has slots to spare, and another one that has another build.
    one, two = await joins(rig, "one", slots=9), await joins(rig, "two", slots=4)
    await joins(rig, "other-build", ability="ffmpeg-parts-ba9876543210")
    await slow(rig, one, two)
    if why == "drains":
        await rig.post("/v1/nodes/two/drain")
    else:
        for _ in range(4):
            await rig.submit()
        assert len(await two.claim(limit=4)) == 4
    later(6)
    assert await hedge_stragglers(rig.farm) == 0
    assert len(await tasks(rig)) == 6
