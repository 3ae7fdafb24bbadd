"""Jobs, nodes, profiles, uploads and the predecessor's paths through HTTP."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from api_serving import KEY, Rig, on_master, on_server, time_passed

from millrace.domain.directives import UNSEEN_GRACE


def field_of(response: httpx2.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json", response.text
    return str(response.json()["errors"][0]["field"])


@on_master
async def test_an_idempotency_key_makes_one_job_of_many_submissions(rig: Rig) -> None:
    key = {"idempotency-key": "film-42"}
    first = await rig.post("/v1/jobs", {"scenario": "720p30-h264"}, status=201, headers=key)
    again = await rig.post("/v1/jobs", {"scenario": "720p30-h264"}, status=201, headers=key)
    assert again == first
    other = await rig.call("POST", "/v1/jobs", json={"scenario": "1080p30-h264"}, headers=key)
    assert (other.status_code, other.json()["type"]) == (422, "urn:millrace:problem:idempotency-key-reused")
    assert len((await rig.get("/v1/jobs"))["jobs"]) == 1
    bad = await rig.call("POST", "/v1/jobs", json={}, headers={"idempotency-key": "x" * 256})
    assert (bad.status_code, field_of(bad)) == (400, "Idempotency-Key")


@on_master
async def test_what_a_submission_is_answered_with_is_what_is_read_later(rig: Rig) -> None:
    """The answer is worked out, not read back; a reader must see the same, and follow events from its cursor."""
    next_year = datetime.now(UTC).replace(microsecond=789123) + timedelta(days=365)
    for more in (
        {},
        {"run_after": next_year.isoformat(), "labels": {"show": "news"}, "timeout_s": 7.5},
        {"scenario": None, "profile": "web-hls", "input": "/media/film.mp4", "output": "/media/out", "max_retries": 0},
        {"queue": "live", "priority": "high", "parameters": {"height": 480}, "tenant": "a"},
        {"engine": "gstreamer"},
    ):
        job = await rig.post("/v1/jobs", {"scenario": "720p30-h264", **more}, status=201)
        assert job == await rig.get(f"/v1/jobs/{job['id']}")


@on_master
async def test_a_job_is_found_by_number_and_by_id_and_never_confused(rig: Rig) -> None:
    job = await rig.submit()
    assert (await rig.get("/v1/jobs/1"))["id"] == (await rig.get(f"/v1/jobs/{job['id']}"))["id"]
    for ref in (
        "2",
        "0",
        "01",
        "00001",
        "-1",
        "1x",
        job["id"][:-1],
        job["id"][1:],
        "%31%20",
        "１",
        "9" * 30,
        "1%2F..",
        "..",
    ):
        assert (await rig.call("GET", f"/v1/jobs/{ref}")).status_code == 404, ref
    for method, path in (
        ("POST", "/v1/jobs/01/cancel"),
        ("GET", "/v1/jobs/01/logs"),
        ("GET", "/v1/events?job=01"),
        ("GET", "/jobs/01"),
    ):
        assert (await rig.call(method, path)).status_code == 404, path
    assert (await rig.get("/v1/jobs/1"))["state"] == "queued"


@on_master
async def test_lists_are_filtered_and_paged(rig: Rig) -> None:
    for number in range(7):
        await rig.submit(labels={"show": "news" if number % 2 else "film"}, queue="live" if number < 2 else "batch")
    await rig.post("/v1/jobs/1/cancel")

    async def numbers(query: str) -> list[int]:
        return [job["number"] for job in (await rig.get(f"/v1/jobs?{query}"))["jobs"]]

    assert await numbers("") == [7, 6, 5, 4, 3, 2, 1]
    assert await numbers("queue=live") == [2, 1]
    assert await numbers("state=canceled") == [1]
    assert await numbers("state=canceled&state=queued&queue=live") == [2, 1]
    assert await numbers("label=show:news") == await numbers("label=show%3Dnews") == [6, 4, 2]
    assert await numbers("label=show:news&label=nope:1") == []
    assert await numbers("profile=720p30-h264&tenant=default&priority=medium&limit=1") == [7]
    found: list[int] = []
    cursor = ""
    while True:
        page = await rig.get(f"/v1/jobs?limit=3{cursor}")
        found += [job["number"] for job in page["jobs"]]
        if page["next"] is None:
            break
        cursor = "&cursor=" + page["next"]
    assert found == [7, 6, 5, 4, 3, 2, 1]
    for query, field in (
        ("state=nope", "state"),
        ("queue=nope", "queue"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("cursor=%F0%9F%98%80", "cursor"),
        ("cursor=nope", "cursor"),
        ("label=nope", "label"),
        ("sort=up", "sort"),
        ("tenant=%00", "tenant"),
        ("queue=live&queue=batch", "queue"),
    ):
        response = await rig.call("GET", f"/v1/jobs?{query}")
        assert (response.status_code, field_of(response)) == (400, field), query
    assert (await rig.call("GET", "/v1/jobs?tenant=%ff")).status_code == 400


@on_master
async def test_people_steer_jobs(rig: Rig) -> None:
    await rig.submit()
    assert (await rig.post("/v1/jobs/1/pause"))["state"] == "paused"
    assert (await rig.post("/v1/jobs/1/resume"))["state"] == "queued"
    assert (await rig.post("/v1/jobs/1/cancel"))["state"] == "canceled"
    assert (await rig.post("/v1/jobs/1/cancel"))["state"] == "canceled"
    refused = await rig.call("POST", "/v1/jobs/1/pause")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:millrace:problem:conflict")
    retried = await rig.post("/v1/jobs/1/retry")
    assert retried["state"] == "queued"
    assert retried["transitions"][-1]["actor"] == "api"
    assert (await rig.call("POST", "/v1/jobs/2/cancel")).status_code == 404


@on_master
async def test_nodes_are_shown_drained_and_removed(rig: Rig) -> None:
    node = await rig.register("one")
    assert (await rig.register("one")).id == node.id
    shown = await rig.get("/v1/nodes/one")
    assert (shown["id"], shown["state"], shown["encoders"]["libx264"]) == (node.id, "ready", "")
    assert (await rig.get("/v1/nodes"))["count"] == 1
    assert (await rig.post("/v1/nodes/one/drain"))["state"] == "draining"
    assert await node.claim() == []
    assert (await rig.post(f"/v1/nodes/{node.id}/resume"))["state"] == "ready"
    await rig.submit()
    (task,) = await node.claim()
    assert (await rig.call("DELETE", "/v1/nodes/one")).status_code == 409
    await node.report("hand-back", task, reason="the worker drains")
    gone = await rig.call("DELETE", "/v1/nodes/one")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await rig.call("GET", "/v1/nodes/one")).status_code == 404


@on_master
async def test_profiles_are_listed_shown_and_checked(rig: Rig) -> None:
    names = [one["name"] for one in (await rig.get("/v1/profiles"))["profiles"]]
    assert {"web-hls", "mp4-h264", "av1", "audio", "thumbnails"} <= set(names)
    shown = await rig.get("/v1/profiles/web-hls")
    assert (await rig.post("/v1/profiles/check", shown["document"]))["name"] == "web-hls"
    assert (await rig.get("/v1/profiles/4K60-h265"))["name"] == "4K60-h265"
    missing = await rig.call("GET", "/v1/profiles/web-hsl")
    assert missing.status_code == 404
    assert "did you mean web-hls?" in missing.json()["detail"]
    wrong = await rig.call(
        "POST", "/v1/profiles/check", json={"name": "x", "renditions": [{"video": {"codec": "mp3"}}]}
    )
    assert wrong.status_code == 422
    assert any(error["field"].startswith("renditions") for error in wrong.json()["errors"])


@on_master
async def test_uploads_that_nobody_came_back_for_are_removed_and_younger_ones_stay(rig: Rig) -> None:
    view = await rig.post("/v1/uploads", {"name": "film.mp4", "size": 4}, status=201)
    now = await rig.farm.store.now()
    assert await rig.app.expire_uploads(before=now - timedelta(hours=1)) == 0
    assert (await rig.call("GET", f"/v1/uploads/{view['id']}")).status_code == 200
    assert await rig.app.expire_uploads(before=now + timedelta(seconds=1)) == 1
    assert (await rig.call("GET", f"/v1/uploads/{view['id']}")).status_code == 404


@on_master
async def test_a_job_on_an_upload_waits_until_all_of_it_is_there(rig: Rig) -> None:
    view = await rig.post("/v1/uploads", {"name": "film.mp4", "size": 10}, status=201)

    async def piece(offset: int, content: bytes) -> None:
        headers = {"content-type": "application/offset+octet-stream", "upload-offset": str(offset)}
        response = await rig.call("PATCH", f"/v1/uploads/{view['id']}", content=content, headers=headers)
        assert response.status_code == 200

    for arrived, content in ((0, b"0123"), (4, b"45678")):
        problem = await rig.post("/v1/jobs", {"input": f"upload://{view['id']}"}, status=422)
        assert problem["errors"][0]["field"] == "input"
        assert f"{arrived} of 10 bytes" in problem["errors"][0]["message"]
        await piece(arrived, content)
    await piece(9, b"9")
    job = await rig.post("/v1/jobs", {"input": f"upload://{view['id']}"}, status=201)
    assert (job["state"], job["number"]) == ("queued", 1)
    assert (await rig.call("DELETE", f"/v1/uploads/{view['id']}")).status_code == 204
    problem = await rig.post("/jobs", {"input": f"upload://{view['id']}"}, status=422)
    assert "there is no upload" in problem["detail"]


@on_master
async def test_an_upload_is_resumed_where_it_broke(rig: Rig) -> None:
    data = bytes(range(256)) * 40
    view = await rig.post("/v1/uploads", {"name": "film.mp4", "size": len(data)}, status=201)
    path = f"/v1/uploads/{view['id']}"
    media = {"content-type": "application/offset+octet-stream"}

    async def piece(offset: int, content: bytes) -> httpx2.Response:
        return await rig.call("PATCH", path, content=content, headers={**media, "upload-offset": str(offset)})

    assert (await piece(0, data[:1000])).json()["offset"] == 1000
    wrong = await piece(0, data[:1000])
    assert (wrong.status_code, wrong.headers["upload-offset"]) == (409, "1000")
    assert (await piece(2000, b"x")).status_code == 409
    assert (await piece(1000, b"")).json()["offset"] == 1000
    assert (await rig.call("GET", path + "/content")).status_code == 409
    head = await rig.call("HEAD", path)
    assert (head.headers["upload-offset"], head.headers["upload-length"], head.content) == ("1000", "10240", b"")
    assert (await piece(1000, data[1000:] + b"x")).status_code == 413
    assert (await piece(1000, data[1000:5000])).json()["offset"] == 5000
    assert (await piece(5000, data[5000:])).headers["upload-offset"] == "10240"
    assert (await rig.call("GET", path + "/content")).content == data
    for start, end in ((0, 0), (999, 1000), (1000, 4999), (500, 9000), (10239, 10239)):
        part = await rig.call("GET", path + "/content", headers={"range": f"bytes={start}-{end}"})
        assert (part.status_code, part.content) == (206, data[start : end + 1])
    beyond = await rig.call("GET", path + "/content", headers={"range": f"bytes={'9' * 30}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */10240")
    etag = (await rig.call("GET", path + "/content")).headers["etag"]
    for if_range, status in ((etag, 206), (f"W/{etag}", 200), ('"other"', 200), ("Sat, 29 Oct 1994 19:43:31 GMT", 200)):
        part = await rig.call("GET", path + "/content", headers={"range": "bytes=0-9", "if-range": if_range})
        assert (part.status_code, len(part.content)) == (status, 10 if status == 206 else len(data)), if_range
    whole = await rig.call("HEAD", path + "/content", headers={"range": "bytes=0-9"})
    assert (whole.status_code, whole.headers["content-length"]) == (200, "10240")  # only GET knows ranges
    for headers, status in (
        ({"upload-offset": "0"}, 415),
        (media, 400),
        ({**media, "upload-offset": "-1"}, 400),
        ({**media, "upload-offset": "x"}, 400),
    ):
        assert (await rig.call("PATCH", path, content=b"x", headers=headers)).status_code == status
    assert (await rig.call("DELETE", path)).status_code == 204
    for method in ("GET", "HEAD", "DELETE"):
        assert (await rig.call(method, path)).status_code == 404
    assert (await rig.call("GET", "/v1/uploads/..%2F..%2Fjobs")).status_code == 404


@on_master
async def test_the_paths_of_the_predecessor_answer_in_its_shapes(rig: Rig) -> None:
    job = await rig.post("/jobs", {"scenario": "720p30-h264", "queue": "live"}, status=201)
    assert (await rig.get("/jobs"))["count"] == 1
    assert (await rig.get("/jobs/1"))["id"] == job["id"]
    assert await rig.post("/jobs/1/pause") == {"status": "paused", "job_id": job["id"]}
    assert await rig.post("/jobs/1/resume") == {"status": "resumed", "job_id": job["id"]}
    assert await rig.post("/jobs/1/cancel") == {"status": "canceled", "job_id": job["id"]}
    assert await rig.post("/jobs/1/retry") == {"status": "queued", "job_id": job["id"], "retry_count": 1}
    assert await rig.get("/jobs/1/logs") == {"job_id": job["id"], "logs": "No logs available for this job"}
    old = {"address": "10.0.0.7:8081", "type": "server", "cpu_threads": 8, "ram_total_bytes": 1 << 34, "has_gpu": False}
    node = await rig.post("/nodes/register", old, status=201)
    assert (node["name"], node["memory_mb"], node["facts"]["cpu_threads"]) == ("10.0.0.7:8081", 16384, 8)
    assert (await rig.post("/nodes/register", old, status=201))["id"] == node["id"]
    beat = await rig.call("POST", f"/nodes/{node['id']}/heartbeat")
    assert (beat.status_code, beat.content) == (200, b"")
    assert (await rig.get("/nodes"))["count"] == 1
    assert (await rig.call("DELETE", f"/nodes/{node['id']}")).json() == {"status": "removed", "node_id": node["id"]}
    new = {"fingerprint": "print-1234", "boot_id": "boot-0001", "name": "n", "slots": 1}
    assert (await rig.post("/nodes/register", new, status=201))["epoch"] >= 1
    wrong = await rig.call("POST", "/nodes/register", json={"address": 5})
    assert (wrong.status_code, field_of(wrong)) == (400, "address")
    health = await rig.client.get("/health", headers={"x-api-key": ""})
    assert (health.status_code, health.json()["status"]) == (200, "healthy")


@on_master
async def test_a_job_of_the_predecessor_may_have_a_confidence_and_nothing_else_that_is_new(rig: Rig) -> None:
    for confidence in ("auto", "high", "medium", "low"):
        body = {"scenario": "720p30-h264", "confidence": confidence}
        job = await rig.post("/jobs", body, status=201, headers={"idempotency-key": "one"})
        assert job["number"] == 1
    again = await rig.post("/v1/jobs", {"scenario": "720p30-h264"}, status=201, headers={"idempotency-key": "one"})
    assert again["number"] == 1  # the wish makes no other job of it
    for path, body, field in (
        ("/jobs", {"confidence": "certain"}, "confidence"),
        ("/jobs", {"confidenc": "high"}, "confidenc"),
        ("/v1/jobs", {"confidence": "high"}, "confidence"),
    ):
        refused = await rig.call("POST", path, json=body)
        assert (refused.status_code, field_of(refused)) == (400, field)


@on_master
async def test_workers_of_the_predecessor_are_told_where_work_is(rig: Rig) -> None:
    await rig.submit()
    node = await rig.post("/nodes/register", {"address": "10.0.0.7:8081"}, status=201)
    result = {"job_id": "1", "node_id": node["id"], "status": "completed"}
    for response, path in (
        (await rig.call("GET", f"/jobs/next?node_id={node['id']}"), "/v1/nodes/{node}/claim"),
        (await rig.call("GET", "/jobs/next"), "/v1/nodes/{node}/claim"),
        (await rig.call("POST", "/results", json=result), "/v1/tasks/{task}/complete"),
        (await rig.call("POST", "/results", content=b"x"), "/v1/tasks/{task}/complete"),
    ):
        assert (response.status_code, response.json()["type"]) == (410, "urn:millrace:problem:gone")
        assert path in response.json()["detail"]
        assert "millrace worker" in response.json()["detail"]
    job = await rig.get("/v1/jobs/1")
    assert (job["state"], job["attempts"]) == ("queued", [])


@on_master
async def test_an_empty_heartbeat_never_takes_work_away(rig: Rig) -> None:
    await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    time_passed[0] = UNSEEN_GRACE + timedelta(seconds=1)
    assert (await rig.call("POST", f"/nodes/{node.id}/heartbeat")).status_code == 200
    assert (await node.report("start", task))["state"] == "processing"


@on_master
async def test_metrics_speak_of_routes_and_never_of_paths(rig: Rig) -> None:
    await rig.submit()
    await rig.call("GET", "/v1/jobs/1")
    await rig.call("GET", "/secret-looking/path")
    text = (await rig.call("GET", "/metrics")).text
    assert 'millrace_jobs{state="queued"} 1' in text
    assert 'millrace_http_requests_total{route="/v1/jobs/{ref}",method="GET",status="200"} 1' in text
    assert 'millrace_http_request_seconds_count{route="/v1/jobs/{ref}"} 1' in text
    assert 'route="(none)",method="GET",status="404"' in text
    assert "secret-looking" not in text
    from prometheus_client.parser import text_string_to_metric_families

    assert len(list(text_string_to_metric_families(text))) >= 5


@on_master
async def test_the_access_log_has_a_line_for_what_matters_and_no_secret(rig: Rig) -> None:
    node = await rig.register()
    await node.claim()
    await rig.call("GET", "/v1/jobs?tenant=abc")
    await rig.call("GET", "/health")
    assert [(one.method, one.path, one.status) for one in rig.log] == [
        ("POST", "/v1/nodes", 200),
        ("GET", "/v1/jobs", 200),
    ]
    assert KEY not in repr(rig.log)
    response = await rig.call("GET", "/v1/jobs", headers={"x-request-id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1" == rig.log[-1].request_id


class Events:
    """A reader of the stream."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, str, Any]:
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line == "" and "data" in fields:
                return fields.get("event", ""), fields["id"], json.loads(fields["data"])
            name, _, value = line.partition(": ")
            fields[name] = value
        raise EOFError


@on_server
async def test_events_stream_as_they_happen_and_are_resumed_from_a_cursor(rig: Rig) -> None:
    await rig.submit()
    async with rig.client.stream("GET", "/v1/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = Events(response)
        hello, cursor, _ = await events.next()
        assert hello == "hello"
        job = await rig.submit()
        name, second, data = await events.next()
        assert (name, data["job"], data["number"], data["to"], data["cursor"]) == ("transition", job["id"], 2, "queued", second)  # fmt: skip
    await rig.post("/v1/jobs/2/cancel")

    async def seen(query: str, **headers: str) -> list[tuple[int, str]]:
        async with rig.client.stream("GET", f"/v1/events{query}", headers=headers) as response:
            events, found = Events(response), []
            await events.next()
            while (2, "canceled") not in found:
                _, _, data = await events.next()
                found.append((data["number"], data["to"]))
            return found

    everything = [(1, "queued"), (2, "queued"), (2, "canceled")]
    assert await seen("?after=beginning") == everything
    assert await seen(f"?after={cursor}") == everything[1:]
    assert await seen("?after=beginning", **{"last-event-id": second}) == everything[2:]
    assert await seen("?job=2") == everything[1:]
    wrong = await rig.call("GET", "/v1/events?after=nope")
    assert (wrong.status_code, field_of(wrong)) == (400, "after")
    assert (await rig.call("GET", "/v1/events?job=77")).status_code == 404


@on_server
async def test_a_stream_of_events_ends_when_the_master_stops_or_its_reader_leaves(rig: Rig) -> None:
    async with rig.client.stream("GET", "/v1/events") as response:
        await Events(response).next()
    while rig.app.master.long:
        await asyncio.sleep(0)
    async with rig.client.stream("GET", "/v1/events") as response:
        events = Events(response)
        await events.next()
        rig.app.stop()
        try:
            await events.next()
        except EOFError:
            return
        raise AssertionError("the stream did not end")
