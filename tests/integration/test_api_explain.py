"""Why a job is encoded as it is, through HTTP: what it waits for, what its worker wrote down, and what came of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from api_serving import Node, Rig, on_master
from test_api_parts import PARTS, PLAN, SKILL, joins, made

WAYS = [
    {"course": "whole", "time_s": 50.0, "cpu_s": 90.0, "chunks": 1, "workers": 1, "repeated": 0},
    {"course": "chunks", "time_s": 44.0, "cpu_s": 88.0, "chunks": 3, "workers": 1, "repeated": 0},
    {"course": "spread", "time_s": 25.0, "cpu_s": 93.0, "chunks": 2, "workers": 2, "repeated": 4},
]


def facts(chosen: int, *chunks: int) -> dict[str, Any]:
    """What a worker writes down when it has planned."""
    decision = {
        "asked": "auto", "cores": 2, "helpers": 3, "unit": 10, "obstacle": "", "ways": WAYS, "here": min(chosen, 1),
        "chosen": chosen,
    }  # fmt: skip
    begins = [sum(chunks[:number]) for number in range(len(chunks))]
    return {
        "probe": {"duration_s": 3.6, "streams": [{"type": "video", "codec": "h264"}]},
        "plan": {
            "division": "as it was decided",
            "decision": decision,
            "steps": {"pictures": "decoded once"},
            "notes": ["The input's frame rate varies."],
            "frames": 90,
            "duration_s": 3.6,
            "chunks": [{"first_frame": at, "frames": count} for at, count in zip(begins, chunks, strict=True)],
        },
    }


async def explained(rig: Rig, number: int = 1) -> Any:
    return await rig.get(f"/v1/jobs/{number}/explain")


@on_master
async def test_of_a_job_that_waits_it_says_why_and_who_could_take_it(rig: Rig) -> None:
    await rig.submit(requires={"gpu": "a100"})
    found = await explained(rig)
    assert (found["decision"], found["candidates"], found["source"]) == (None, [], None)
    assert found["waits"] == "no worker has registered yet"
    await rig.register("one")
    found = await explained(rig)
    assert found["waits"] == "none of 1 node can run it: it takes the label gpu=a100"
    assert found["candidates"] == [{"node": "one", "state": "ready", "free": 4, "lacks": "the label gpu=a100"}]
    await rig.submit()
    assert (await explained(rig, 2))["waits"].startswith("1 of 1 node can run it, with 4 free slots: ")
    await rig.post("/v1/nodes/one/drain")
    assert (await explained(rig, 2))["waits"] == "1 of 1 node can run it, and none of them has a free slot"
    await rig.post("/v1/jobs/2/pause")
    assert (await explained(rig, 2))["waits"].startswith("it is paused")
    await rig.submit(after=["2"])
    assert (await explained(rig, 3))["waits"] == "it runs after job 2 (paused)"
    later = (datetime.now(UTC) + timedelta(days=300)).replace(microsecond=0)
    await rig.submit(run_after=later.isoformat())
    assert (await explained(rig, 4))["waits"] == f"it begins at {later.isoformat()}"
    await rig.post("/v1/jobs/4/cancel")
    assert (await explained(rig, 4))["waits"] == "it ended before a worker had planned it"


@on_master
async def test_who_may_not_see_the_nodes_is_told_nothing_of_them(rig: Rig) -> None:
    await rig.register("one")
    await rig.submit(tenant="acme")
    secret = (await rig.post("/v1/keys", {"name": "eva", "role": "viewer", "tenant": "acme"}, status=201))["secret"]
    shown = (await rig.call("GET", "/v1/jobs/1/explain", headers={"x-api-key": secret})).json()
    assert shown["waits"] == "it waits for a free slot on a node that can run it"
    assert shown["candidates"] == []


@on_master
async def test_what_a_worker_planned_is_there_while_it_works_and_what_it_took_when_it_is_done(rig: Rig) -> None:
    one = await rig.register("one")
    await rig.submit()
    (task,) = await one.claim()
    assert (await explained(rig))["waits"] == "a worker has taken it, and reads its input"
    await one.report("start", task, facts=facts(1, 30, 30, 30))
    found = await explained(rig)
    assert (found["waits"], found["candidates"], found["actual"]) == ("", [], None)
    decision = found["decision"]
    assert (decision["reason"], decision["cores"], decision["helpers"]) == ("as it was decided", 2, 3)
    assert [(way["course"], way["chosen"]) for way in decision["ways"]] == [
        ("whole", False), ("chunks", True), ("spread", False),
    ]  # fmt: skip
    assert found["expected"] == {"time_s": 44.0, "cpu_s": 88.0}
    assert [(one["first_frame"], one["frames"], one["length_s"], one["task"]) for one in found["chunks"]] == [
        (0, 30, 1.2, None), (30, 30, 1.2, None), (60, 30, 1.2, None),
    ]  # fmt: skip
    assert (found["steps"], found["notes"]) == ({"pictures": "decoded once"}, ["The input's frame rate varies."])
    assert found["source"]["duration_s"] == 3.6
    done = {**facts(1, 30, 30, 30), "encode_s": 41.5, "encode_cpu_s": 80.25}
    await one.report("complete", task, facts=done)
    found = await explained(rig)
    assert found["actual"] == {"time_s": 41.5, "cpu_s": 80.25}
    assert found["job_s"] is not None


@on_master
async def test_of_a_divided_job_it_says_who_makes_each_chunk_and_how_long_it_took(rig: Rig) -> None:
    one, two = await joins(rig, "one"), await joins(rig, "two", slots=3)
    await rig.submit(input="/media/film.mp4")
    (task,) = await one.claim()
    await one.report("split", task, **SKILL, parts=PARTS, plan=PLAN, facts=facts(2, 50, 40))
    found = await explained(rig)
    assert (found["waits"], found["decision"]["ways"][2]["chosen"]) == ("", True)
    assert [(one["task"], one["state"], one["took_s"]) for one in found["chunks"]] == [
        (3, "queued", None), (4, "queued", None),
    ]  # fmt: skip
    assert found["actual"] is None
    for node, part in (
        *((one, part) for part in await one.claim(limit=2)),
        *((two, part) for part in await two.claim()),
    ):
        await node.report("start", part, facts=facts(0))  # a part plans nothing
        await made(node, part, "out/a.m4s", b"piece")
    assert (await rig.get("/v1/jobs/1"))["facts"]["plan"]["decision"]["chosen"] == 2
    found = await explained(rig)
    assert [(one["node_name"], one["state"]) for one in found["chunks"]] == [("one", "completed"), ("two", "completed")]
    assert all(one["took_s"] >= 0 for one in found["chunks"])
    assert found["actual"]["time_s"] >= max(one["took_s"] for one in found["chunks"])
    assert found["actual"]["cpu_s"] is None


@on_master
async def test_of_a_worker_that_wrote_nothing_down_that_is_said(rig: Rig) -> None:
    one = await rig.register("one")
    await rig.submit()
    (task,) = await one.claim()
    await one.report("start", task)
    assert "of a version that did not write down" in (await explained(rig))["waits"]
    odd = {"plan": {"decision": {"asked": "perhaps"}, "division": 7}}
    await one.report("complete", task, facts=odd)
    found = await explained(rig)
    assert (found["decision"], found["expected"], found["chunks"]) == (None, None, [])


@on_master
async def test_a_start_that_comes_late_keeps_nothing(rig: Rig) -> None:
    one = await rig.register("one")
    await rig.submit()
    (task,) = await one.claim()
    await one.report("start", {**task, "attempt": 2}, status=409, facts=facts(0))
    assert (await rig.get("/v1/jobs/1"))["facts"] is None


# Logs of tasks that run side by side -------------------------------------------------------------------------------------


async def says(node: Node, task: Any, text: str, offset: int = 0) -> None:
    response = await node.rig.call(
        "POST",
        f"/v1/tasks/{task['task']}/log",
        params={"node": node.id, "attempt": task["attempt"], "offset": offset},
        content=text.encode(),
    )
    assert response.status_code == 200, response.text


async def read(rig: Rig, **query: int) -> str:
    response = await rig.call("GET", "/v1/jobs/1/logs", params=query)
    assert response.status_code == 200, response.text
    return response.text


@on_master
async def test_an_offset_holds_while_several_tasks_say_something(rig: Rig) -> None:
    one = await joins(rig, "one", slots=4)
    await rig.submit(input="/media/film.mp4")
    (lead,) = await one.claim()
    await says(one, lead, "planned\n")
    await one.report("split", lead, **SKILL, parts=PARTS, plan=PLAN)
    first, second, third = await one.claim(limit=3)
    await says(one, second, "second 1\n")
    await says(one, first, "first 1\n")
    followed = await read(rig)
    assert followed == "planned\nfirst 1\n"
    await says(one, first, "first 2\n", offset=8)
    followed += await read(rig, offset=len(followed))
    await says(one, third, "third 1\n")
    for part in (second, first):
        await made(one, part, "out/a.m4s", b"piece")
    followed += await read(rig, offset=len(followed))
    assert followed == "planned\nfirst 1\nfirst 2\nsecond 1\nthird 1\n"


@on_master
async def test_the_log_of_one_task_is_its_own(rig: Rig) -> None:
    one = await joins(rig, "one", slots=4)
    await rig.submit(input="/media/film.mp4")
    (lead,) = await one.claim()
    await says(one, lead, "planned\n")
    await one.report("split", lead, **SKILL, parts=PARTS, plan=PLAN)
    _, second = await one.claim(limit=2)
    await says(one, second, "second 1\nsecond 2\n")
    assert await read(rig, task=1) == "planned\n"
    assert await read(rig, task=3) == "second 1\nsecond 2\n"
    assert await read(rig, task=3, attempt=1, offset=9) == "second 2\n"
    assert await read(rig, task=4) == ""
    for query, words in (
        ({"task": 9}, "there is no task 9 of job 1"),
        ({"task": 3, "attempt": 2}, "of task 3 of job 1"),
    ):
        response = await rig.call("GET", "/v1/jobs/1/logs", params=query)
        assert response.status_code == 404
        assert words in response.json()["detail"]
