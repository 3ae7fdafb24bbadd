"""Tenants over HTTP: quotas refuse what is over them, exactly, say which and when to come again, and hold back claims."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_serving import Rig, on_master, on_server, serving, time_passed
from msgspec.structs import replace

from millrace.domain.tenants import Quotas
from millrace.scheduler.submit import Caller, submit
from millrace.scheduler.tenancy import within
from millrace.wire.v1.jobs import JobRequest

JOB = {"scenario": "720p30-h264", "tenant": "acme"}


async def limited(rig: Rig, tenant: str = "acme", **said: object) -> Any:
    response = await rig.call("PATCH", f"/v1/tenants/{tenant}", json=said)
    assert response.status_code == 200, response.text
    return response.json()


async def key(rig: Rig, tenant: str) -> dict[str, str]:
    made = await rig.post("/v1/keys", {"name": tenant, "role": "submitter", "tenant": tenant}, status=201)
    return {"x-api-key": made["secret"]}


@on_server
async def test_of_hundreds_of_jobs_at_once_ten_are_accepted(rig: Rig) -> None:
    await limited(rig, queued=10)
    answers = []
    # As many connections as a client may have, again and again.
    for _ in range(4):
        answers += await asyncio.gather(*(rig.call("POST", "/v1/jobs", json=JOB) for _ in range(50)))
    assert [one.status_code for one in answers].count(201) == 10
    assert {one.status_code for one in answers} == {201, 429}
    assert (await rig.get("/v1/tenants/acme"))["quotas"]["queued"] == {"limit": 10, "used": 10}
    assert len((await rig.get("/v1/jobs?limit=500"))["jobs"]) == 10


@on_master
async def test_a_refusal_names_the_quota_its_limit_and_its_use(rig: Rig) -> None:
    await limited(rig, queued=1)
    await rig.post("/v1/jobs", JOB, status=201)
    response = await rig.call("POST", "/v1/jobs", json=JOB)
    assert (response.status_code, response.headers["content-type"]) == (429, "application/problem+json")
    problem = response.json()
    assert problem["type"] == "urn:millrace:problem:quota-exceeded"
    assert problem["over"] == {"tenant": "acme", "quota": "queued", "limit": 1, "used": 1}
    assert problem["detail"] == (
        "cannot accept the job: tenant acme has 1 jobs that have not ended, and its quota `queued` is 1; wait until some have, "
        "or cancel some"
    )
    assert "retry-after" not in response.headers  # nobody knows when
    # A job of another tenant is another matter.
    await rig.submit()
    await rig.post("/v1/jobs/1/cancel")
    await rig.post("/v1/jobs", JOB, status=201)
    again = await rig.call("POST", "/v1/jobs/1/retry")
    assert (again.status_code, again.json()["over"]["quota"]) == (429, "queued")
    assert again.json()["detail"].startswith("cannot run the job again: tenant acme has 1 jobs")


@on_master
async def test_a_quota_for_the_day_says_that_the_day_ends_at_midnight(rig: Rig) -> None:
    now = datetime.now(UTC)
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0)
    time_passed[0] = noon - now + timedelta(days=1)
    await limited(rig, per_day=1)
    await rig.post("/v1/jobs", JOB, status=201)
    response = await rig.call("POST", "/v1/jobs", json=JOB)
    assert (response.status_code, response.json()["over"]["quota"]) == (429, "per_day")
    assert 43_100 <= int(response.headers["retry-after"]) <= 43_200
    time_passed[0] += timedelta(hours=12, minutes=1)
    await rig.post("/v1/jobs", JOB, status=201)


@on_master
async def test_uploads_are_counted_as_announced_and_refused_beyond_the_quota(rig: Rig) -> None:
    acme = await key(rig, "acme")
    await limited(rig, storage_bytes=10)
    both = await asyncio.gather(
        *(rig.call("POST", "/v1/uploads", json={"name": "a", "size": 6}, headers=acme) for _ in range(5))
    )
    assert sorted(one.status_code for one in both) == [201, 429, 429, 429, 429]
    refused = next(one for one in both if one.status_code == 429)
    assert refused.json()["over"] == {"tenant": "acme", "quota": "storage_bytes", "limit": 10, "used": 6}
    assert refused.json()["detail"].startswith("cannot take 6 bytes: the files of tenant acme take 6 bytes")
    (made,) = [one.json() for one in both if one.status_code == 201]
    assert (await rig.call("DELETE", f"/v1/uploads/{made['id']}", headers=acme)).status_code == 204
    full = await rig.call("POST", "/v1/uploads", json={"name": "a", "size": 10}, headers=acme)
    assert full.status_code == 201
    # A job whose outputs the master would keep needs room for them; one that names a place does not.
    kept = await rig.call("POST", "/v1/jobs", json=JOB, headers=acme)
    assert (kept.status_code, kept.json()["over"]["quota"]) == (429, "storage_bytes")
    placed = {**JOB, "input": "/media/a.mp4", "output": "/media/out"}
    assert (await rig.call("POST", "/v1/jobs", json=placed, headers=acme)).status_code == 201
    # What is old goes, and is counted no longer.
    await rig.app.expire_uploads(before=datetime.now(UTC) + timedelta(days=1))
    assert (await rig.get("/v1/tenants/acme"))["quotas"]["storage_bytes"]["used"] == 0


@on_master
async def test_a_job_that_waits_for_its_tenants_turn_says_so(rig: Rig) -> None:
    await limited(rig, concurrent=1)
    node = await rig.register()
    for _ in range(2):
        await rig.post("/v1/jobs", JOB, status=201)
    await rig.submit()
    tasks = await node.claim(limit=9)
    assert [task["number"] for task in tasks] == [1, 3]
    waiting = await rig.get("/v1/jobs/2")
    assert (
        waiting["held_back"]
        == "tenant acme runs 1 tasks, and its quota `concurrent` is 1: it waits until one has ended"
    )
    assert (await rig.get("/v1/jobs/1"))["held_back"] == ""
    parked = asyncio.create_task(node.claim(wait_s=20))
    while not rig.farm.waiting:
        await asyncio.sleep(0)
    await node.report("complete", tasks[0])
    assert [task["number"] for task in await parked] == [2]
    assert (await rig.get("/v1/jobs/2"))["held_back"] == ""


@on_master
async def test_outputs_that_are_kept_are_counted(rig: Rig) -> None:
    await limited(rig, storage_bytes=100)
    node = await rig.register()
    await rig.post("/v1/jobs", JOB, status=201)
    (task,) = await node.claim()
    put = await rig.call("PUT", f"/v1/tasks/{task['task']}/outputs/a.mp4?node={node.id}&attempt=1", content=b"a film")
    stored = put.json()
    output = {"name": "a.mp4", "location": stored["url"], "size": 6, "sha256": stored["sha256"]}
    elsewhere = {"name": "b.mp4", "location": "/media/b.mp4", "size": 1000, "sha256": stored["sha256"]}
    await node.report("complete", task, outputs=[output, elsewhere])
    assert (await rig.get("/v1/tenants/acme"))["quotas"]["storage_bytes"] == {"limit": 100, "used": 6}


@on_master
async def test_a_tenant_names_its_own_places_alone(rig: Rig) -> None:
    said = await limited(rig, inputs=["/media/acme", "https://cdn.example/acme"], outputs=["s3://films/acme"])
    assert said["inputs"] == ["/media/acme", "https://cdn.example/acme"]
    for body, field in (
        ({"input": "/media/other/a.mp4"}, "input"),
        ({"input": "/media/acme/../other/a.mp4"}, "input"),
        ({"input": "https://cdn.example/acme/%2e%2e/other/a.mp4"}, "input"),
        ({"input": "/media/acme/a.mp4", "output": "s3://films/other"}, "output"),
        ({"input": "/media/acme/a.mp4", "output": "/media/acme/out"}, "output"),
    ):
        response = await rig.call("POST", "/v1/jobs", json={"profile": "web-hls", "tenant": "acme", **body})
        assert response.status_code == 422, response.text
        (error,) = response.json()["errors"]
        assert error["field"] == field
        if ".." not in body["input"]:
            assert error["allowed"] == said[f"{field}s"]
            assert "tenant acme may name" in error["message"]
    for body in (
        {"input": "/media/acme/a.mp4", "output": "s3://films/acme/a"},
        {"input": "https://cdn.example/acme/a.mp4"},
        {},
    ):
        await rig.post("/v1/jobs", {"tenant": "acme", **body}, status=201)
    await rig.post("/v1/jobs", {"input": "/media/other/a.mp4"}, status=201)  # others as before
    # An upload is the tenant's own.
    acme = await key(rig, "acme")
    upload = (await rig.call("POST", "/v1/uploads", json={"name": "a", "size": 0}, headers=acme)).json()["id"]
    job = await rig.call("POST", "/v1/jobs", json={"input": f"upload://{upload}"}, headers=acme)
    assert job.status_code == 201


@on_master
async def test_limits_are_changed_one_by_one_and_taken_back(rig: Rig) -> None:
    assert (await rig.get("/v1/tenants"))["tenants"] == []
    await limited(rig, queued=5, inputs=["/a"])
    made = await limited(rig, per_day=7)
    assert (made["quotas"]["queued"]["limit"], made["quotas"]["per_day"]["limit"], made["inputs"]) == (5, 7, ["/a"])
    made = await limited(rig, queued=None, inputs=[])
    assert (made["quotas"]["queued"]["limit"], made["quotas"]["per_day"]["limit"], made["inputs"]) == (None, 7, [])
    assert made["weight"] == 1
    assert (await limited(rig, weight=3))["quotas"]["per_day"]["limit"] == 7
    made = await limited(rig, per_day=7)
    assert made["weight"] == 3
    assert (await rig.get("/v1/tenants"))["tenants"] == [made]
    for body, field in (
        ({"queued": -1}, "queued"),
        ({"queued": "5"}, "queued"),
        ({"queued": 2**60}, "queued"),
        ({"weight": 0}, "weight"),
        ({"weight": 101}, "weight"),
        ({"weight": None}, "weight"),
        ({"share": 1}, "share"),
        ({"inputs": ["media"]}, "inputs[0]"),
        ({"outputs": ["/a", "/b/../c"]}, "outputs[1]"),
        ({"outputs": ["https://a.example/"]}, "outputs[0]"),
        ({"inputs": ["https://a@b.example/"]}, "inputs[0]"),
    ):
        response = await rig.call("PATCH", "/v1/tenants/acme", json=body)
        assert (response.status_code, response.json()["errors"][0]["field"]) in ((400, field), (422, field)), (
            response.text
        )
    assert (await rig.call("PATCH", "/v1/tenants/a%20b", json={})).status_code == 400
    assert (await rig.call("DELETE", "/v1/tenants/acme")).status_code == 204
    assert (await rig.call("DELETE", "/v1/tenants/acme")).status_code == 404
    assert (await rig.call("GET", "/v1/tenants/acme")).status_code == 404
    entries = (await rig.get("/v1/audit?path=/v1/tenants/acme&limit=50"))["entries"]
    first = next(one for one in entries if one["status"] == 204)
    assert first["before"]["quotas"]["per_day"] == 7


@on_master
async def test_a_tenant_sees_its_own_use_and_changes_nothing_of_it(rig: Rig) -> None:
    acme, other = await key(rig, "acme"), await key(rig, "other")
    await limited(rig, queued=5)
    assert (await rig.call("GET", "/v1/tenants/acme", headers=acme)).json()["quotas"]["queued"]["limit"] == 5
    answers = [await rig.call("GET", f"/v1/tenants/{name}", headers=other) for name in ("acme", "nobody")]
    assert [one.status_code for one in answers] == [404, 404]
    assert answers[0].text.replace("acme", "") == answers[1].text.replace("nobody", "")
    for method, path in (("PATCH", "/v1/tenants/acme"), ("DELETE", "/v1/tenants/acme"), ("GET", "/v1/tenants")):
        assert (await rig.call(method, path, json={}, headers=acme)).status_code == 403


@on_master
async def test_metrics_name_limits_and_use_of_a_bounded_number_of_tenants(rig: Rig) -> None:
    for number in range(105):
        await limited(rig, f"t{number:03}", queued=number)
    await limited(rig, "t000", per_day=1)
    await rig.post("/v1/jobs", {**JOB, "tenant": "t001"}, status=201)
    await rig.call("POST", "/v1/jobs", json={**JOB, "tenant": "t001"})
    text = (await rig.call("GET", "/metrics")).text
    assert 'millrace_tenant_quota_limit{tenant="t099",quota="queued"} 99' in text
    assert 'millrace_tenant_quota_used{tenant="t001",quota="queued"} 1' in text
    assert len(re.findall("^millrace_tenant_quota_limit", text, re.MULTILINE)) == 101
    assert 'millrace_quota_refusals_total{quota="queued"} 1' in text


def test_limits_by_default_are_those_of_tenants_of_which_nobody_said_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with serving(tmp_path) as rig:
            rules = replace(rig.farm.rules, quotas=Quotas(queued=2))
            farm = replace(rig.farm, rules=rules)

            async def accepted(tenant: str, count: int, view: Any = farm) -> int:
                asked = (submit(view, JobRequest(tenant=tenant), caller=Caller()) for _ in range(count))
                answers = await asyncio.gather(*asked, return_exceptions=True)
                return sum(not isinstance(one, BaseException) for one in answers)

            assert await accepted("acme", 20) == 2
            # The same through the tenant's own view.
            assert await accepted("other", 5, within(farm, "other")) == 2
            assert (await rig.get("/v1/tenants/acme"))["by_default"] is True
            # What an operator says goes before, and stays when the settings change.
            await limited(rig, "acme", queued=3)
            assert await accepted("acme", 5) == 1
            farm = replace(farm, rules=replace(rules, quotas=Quotas(queued=4)))
            monkeypatch.setattr("millrace.scheduler.known_tenants.GOOD_FOR_S", -1.0)
            farm.tenants.forget("other")
            assert await accepted("other", 9, farm) == 2
            farm.tenants.forget("acme")
            assert await accepted("acme", 9, farm) == 0

    asyncio.run(body())
