"""The worker protocol through HTTP."""

import asyncio
import hashlib

from api_serving import Rig, on_master, on_server


@on_master
async def test_a_job_goes_through_all_its_states(rig: Rig) -> None:
    job = await rig.submit(labels={"show": "news"})
    assert (job["state"], job["number"], job["engine"]) == ("queued", 1, "ffmpeg")
    node = await rig.register()
    (task,) = await node.claim()
    assert (task["job"], task["attempt"], task["number"]) == (job["id"], 1, 1)
    assert task["spec"]["profile"]["name"] == "720p30-h264"
    assert (await node.report("start", task))["state"] == "processing"
    beat = {
        "epoch": node.epoch,
        "tasks": [{"task": task["task"], "attempt": 1, "fraction": 0.5, "phase": "encode", "fps": 25}],
    }
    reply = await rig.post(f"/v1/nodes/{node.id}/heartbeat", beat)
    assert (reply["directives"], reply["drain"]) == ([], False)
    assert (await rig.get("/v1/jobs/1"))["progress"]["fraction"] == 0.5
    output = {
        "name": "a.mp4",
        "location": "/media/out/a.mp4",
        "sha256": "0" * 64,
        "size": 5,
        "streams": [{"codec": "h264"}],
    }
    done = await node.report("complete", task, outputs=[output], facts={"duration_s": 60.0})
    assert done == {"task": task["task"], "state": "completed", "tasks": []}
    shown = await rig.get(f"/v1/jobs/{job['id']}")
    assert shown["state"] == "completed"
    assert [one["to"] for one in shown["transitions"]] == ["queued", "assigned", "processing", "completed"]
    assert shown["outputs"] == [
        {
            "name": "a.mp4",
            "path": "/media/out/a.mp4",
            "url": None,
            "sha256": "0" * 64,
            "size": 5,
            "streams": [{"codec": "h264"}],
        }
    ]
    assert (shown["attempts"][0]["outcome"], shown["attempts"][0]["node_name"]) == ("completed", "one")
    assert shown["sla"] == {"compliant": True, "reason": "compliant"}


@on_master
async def test_a_stale_attempt_and_a_stale_epoch_are_told_apart(rig: Rig) -> None:
    await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    await rig.post("/v1/jobs/1/cancel")
    problem = await node.report("start", task, status=409)
    assert problem["type"].rpartition(":")[2] == "stale-attempt"
    node.epoch += 1
    response = await rig.call(
        "POST", f"/v1/nodes/{node.id}/claim", json={"epoch": 99, "request": "request-9", "limit": 1, "wait_s": 0}
    )
    assert (response.status_code, response.json()["type"].rpartition(":")[2]) == (409, "stale-epoch")


@on_master
async def test_every_end_of_an_attempt_may_claim_the_next_task(rig: Rig) -> None:
    for _ in range(4):
        await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    ends = (
        ("complete", {}),
        ("fail", {"class": "input", "message": "cannot read the input: it is empty"}),
        ("hand-back", {"reason": "there is too little room", "delay_s": 60}),
    )
    for number, (verb, body) in enumerate(ends, 2):
        claim = {"epoch": node.epoch, "request": f"request-{number}"}
        reply = await node.report(verb, task, claim=claim, **body)
        (given,) = reply["tasks"]
        assert (reply["task"], given["number"], given["attempt"]) == (task["task"], number, 1)
        assert await node.report(verb, task, claim=claim, **body) == reply  # its answer was lost
        task = given
    reply = await node.report("complete", task, claim={"epoch": node.epoch, "request": "request-9"})
    assert (reply["state"], reply["tasks"]) == ("completed", [])
    problem = await node.report("complete", task, claim={"epoch": 1, "request": "short"}, status=400)
    assert problem["errors"][0]["field"] == "claim.request"


@on_master
async def test_a_report_with_a_claim_of_a_stale_attempt_or_epoch_changes_nothing(rig: Rig) -> None:
    await rig.submit()
    await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    claim = {"epoch": node.epoch, "request": "request-2"}
    late = {**task, "attempt": 7}
    problem = await node.report("complete", late, claim=claim, status=409)
    assert problem["type"].rpartition(":")[2] == "stale-attempt"
    problem = await node.report("complete", task, claim={**claim, "epoch": 99}, status=409)
    assert problem["type"].rpartition(":")[2] == "stale-epoch"
    assert [(await rig.get(f"/v1/jobs/{number}"))["state"] for number in (1, 2)] == ["assigned", "queued"]
    assert (await node.report("complete", task))["state"] == "completed"  # alone it is taken


@on_master
async def test_a_draining_node_reports_and_is_given_nothing(rig: Rig) -> None:
    await rig.submit()
    await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    await rig.post(f"/v1/nodes/{node.id}/drain")
    claim = {"epoch": node.epoch, "request": "request-2"}
    for _ in range(2):
        reply = await node.report("complete", task, claim=claim)
        assert (reply["state"], reply["tasks"]) == ("completed", [])


@on_master
async def test_a_failure_of_the_request_is_final_and_says_why(rig: Rig) -> None:
    await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    reply = await node.report("fail", task, **{"class": "input", "message": "cannot read the input: it is empty"})
    assert reply["state"] == "failed"
    shown = await rig.get("/v1/jobs/1")
    assert shown["failure"] == {"class": "input", "message": "cannot read the input: it is empty"}


@on_master
async def test_a_task_handed_back_is_queued_again_unspent(rig: Rig) -> None:
    await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    assert (await node.report("hand-back", task, reason="the worker drains"))["state"] == "queued"
    (again,) = await node.claim()
    assert again["attempt"] == 2


@on_master
async def test_every_attempt_says_why_it_did_not_complete(rig: Rig) -> None:
    await rig.submit()
    node = await rig.register()

    async def ended(verb: str, **body: object) -> None:
        (task,) = await node.claim()
        await node.report("start", task)
        if body.pop("paused", False):
            await rig.post("/v1/jobs/1/pause")
            await rig.post("/v1/jobs/1/resume")
            await rig.post("/v1/jobs/1/pause")
        await node.report(verb, task, **body)

    await ended("hand-back", reason="there is too little room")
    await ended("hand-back", reason="the worker drains", paused=True)
    await rig.post("/v1/jobs/1/resume")
    await ended("complete")
    attempts = (await rig.get("/v1/jobs/1"))["attempts"]
    assert [one["reason"] for one in attempts] == ["there is too little room", "the worker drains", ""]


@on_master
async def test_a_log_grows_and_is_read_from_an_offset(rig: Rig) -> None:
    await rig.submit()
    node = await rig.register()
    for attempt, text in ((1, b"first try\n"), (2, b"second try\n")):
        (task,) = await node.claim()
        path = f"/v1/tasks/{task['task']}/log?node={node.id}&attempt={attempt}"
        half = (await rig.call("POST", path + "&offset=0", content=text[:5])).json()
        assert half == {"length": 5}
        assert (await rig.call("POST", path + "&offset=0", content=text)).json() == {"length": len(text)}
        if attempt == 1:
            await node.report("hand-back", task, reason="the worker drains")
    whole = b"first try\nsecond try\n"
    assert (await rig.call("GET", "/v1/jobs/1/logs")).content == whole
    for offset in (0, 3, 10, 12, 21, 100):
        assert (await rig.call("GET", f"/v1/jobs/1/logs?offset={offset}")).content == whole[offset:]
    assert (await rig.call("GET", "/v1/jobs/1/logs?attempt=2&offset=7")).content == b"try\n"
    assert (await rig.call("GET", "/v1/jobs/1/logs?attempt=3")).status_code == 404
    wrong = await rig.call("POST", path.replace("attempt=2", "attempt=7") + "&offset=0", content=b"x")
    assert wrong.status_code == 404


@on_master
async def test_a_log_is_written_by_the_node_of_its_attempt_also_after_the_end_and_by_no_other(rig: Rig) -> None:
    await rig.submit()
    one, other = await rig.register("one"), await rig.register("other")
    (task,) = await one.claim()
    path = f"/v1/tasks/{task['task']}/log"

    async def send(text: bytes, **fields: object) -> tuple[int, str]:
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        response = await rig.call("POST", f"{path}?{query}", content=text)
        return response.status_code, response.json().get("type", "").rpartition(":")[2]

    assert await send(b"mine\n", node=one.id, attempt=1, offset=0) == (200, "")
    assert await send(b"not mine\n", node=other.id, attempt=1, offset=5) == (409, "stale-attempt")
    assert await send(b"nobody's\n", node="x", attempt=1, offset=5) == (409, "stale-attempt")
    assert await send(b"nobody's\n", attempt=1, offset=5) == (400, "invalid")
    await one.report("hand-back", task, reason="the worker drains")
    assert (await other.claim())[0]["attempt"] == 2
    # Another node runs it now; the first one's last words still come, and go where they belong.
    assert await send(b"last words\n", node=one.id, attempt=1, offset=5) == (200, "")
    assert await send(b"of the second\n", node=other.id, attempt=2, offset=0) == (200, "")
    assert await send(b"forged\n", node=one.id, attempt=2, offset=14) == (409, "stale-attempt")
    assert await send(b"too early\n", node=one.id, attempt=3, offset=0) == (404, "not-found")
    text = (await rig.call("GET", "/v1/jobs/1/logs")).text
    assert text == "mine\nlast words\nof the second\n"


@on_master
async def test_the_writer_of_a_log_is_looked_up_once(rig: Rig) -> None:
    await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    reads: list[str] = []
    attempts = rig.farm.store.attempts
    rig.farm.store.attempts = lambda job: reads.append(job) or attempts(job)  # type: ignore[method-assign, func-returns-value]
    for offset in range(5):
        path = f"/v1/tasks/{task['task']}/log?node={node.id}&attempt=1&offset={offset}"
        assert (await rig.call("POST", path, content=b"x")).json() == {"length": offset + 1}
    assert reads == [task["job"]]


@on_master
async def test_a_kept_output_is_readable_only_once_it_is_recorded(rig: Rig) -> None:
    job = await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    data = b"0123456789" * 1000
    path = f"/v1/tasks/{task['task']}/outputs/hls/360p%20a/seg.m4s?node={node.id}&attempt=1"
    kept = (await rig.call("PUT", path, content=data)).json()
    assert (kept["size"], kept["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (await rig.call("GET", kept["url"])).status_code == 404
    report = {"name": kept["name"], "location": kept["url"], "sha256": kept["sha256"], "size": kept["size"]}
    await node.report("complete", task, outputs=[{**report, "size": 1}], status=422)
    await node.report("complete", task, outputs=[{**report, "name": "other", "location": f"/v1/jobs/{job['id']}/outputs/other"}], status=422)  # fmt: skip
    await node.report("complete", task, outputs=[{**report, "location": "master:jobs/x"}], status=400)
    await node.report("complete", task, outputs=[report])
    (shown,) = (await rig.get("/v1/jobs/1"))["outputs"]
    assert (shown["name"], shown["path"], shown["url"]) == ("hls/360p a/seg.m4s", None, kept["url"])
    whole = await rig.call("GET", shown["url"])
    assert (whole.content, whole.headers["content-type"]) == (data, "video/iso.segment")
    part = await rig.call("GET", shown["url"], headers={"range": "bytes=9990-"})
    assert (part.status_code, part.content) == (206, data[9990:])
    assert part.headers["content-range"] == "bytes 9990-9999/10000"
    beyond = await rig.call("GET", shown["url"], headers={"range": "bytes=10000-"})
    assert beyond.status_code == 416
    head = await rig.call("HEAD", shown["url"])
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10000", b"")
    # Only GET knows ranges.
    head = await rig.call("HEAD", shown["url"], headers={"range": "bytes=0-9"})
    assert (head.status_code, head.headers["content-length"]) == (200, "10000")
    late = await rig.call("PUT", path, content=data)
    assert (late.status_code, late.json()["type"]) == (409, "urn:millrace:problem:stale-attempt")


@on_master
async def test_an_output_cannot_leave_its_folder(rig: Rig) -> None:
    await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    for name in ("%2e%2e/x", "..%2F..%2Fx", "a//b", ".", "a/%2e", "a%5Cb", "%00", "a%0Ab", "x" * 300):
        response = await rig.call(
            "PUT", f"/v1/tasks/{task['task']}/outputs/{name}?node={node.id}&attempt=1", content=b"x"
        )
        assert response.status_code in (400, 404), name


@on_server
async def test_a_claim_waits_for_work_and_gets_it(rig: Rig) -> None:
    node = await rig.register()
    waiting = asyncio.create_task(node.claim(wait_s=20))
    while not len(rig.farm.waiting):
        await asyncio.sleep(0)
    job = await rig.submit()
    assert [task["job"] for task in await waiting] == [job["id"]]


@on_server
async def test_a_claim_ends_when_its_client_hangs_up_or_the_master_stops(rig: Rig) -> None:
    node = await rig.register()
    waiting = asyncio.create_task(node.claim(wait_s=60))
    while not len(rig.farm.waiting):
        await asyncio.sleep(0)
    waiting.cancel()
    while len(rig.farm.waiting):
        await asyncio.sleep(0)
    waiting = asyncio.create_task(node.claim(wait_s=60))
    while not len(rig.farm.waiting):
        await asyncio.sleep(0)
    rig.app.stop()
    assert await waiting == []
    assert await node.claim(wait_s=60) == [], "a master that stops lets nobody wait"
    assert (await rig.call("GET", "/ready")).status_code == 503
