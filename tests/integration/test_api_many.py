"""Batches, jobs that run after others, and schedules over HTTP."""

import asyncio
from typing import Any

from api_serving import Rig, on_master
from test_api_tenants import key, limited

from millrace.scheduler.after import release_waiting
from millrace.wire.v1.batches import MOST_JOBS

JOB = {"scenario": "720p30-h264"}


async def batch(
    rig: Rig, *jobs: dict[str, object], status: int = 201, headers: dict[str, str] | None = None, **more: object
) -> Any:
    return await rig.post("/v1/batches", {"jobs": list(jobs), **more}, status=status, headers=headers or {})


async def numbers(rig: Rig) -> int:
    return len((await rig.get("/v1/jobs?limit=500"))["jobs"])


# Batches ----------------------------------------------------------------------------------------------------------------


@on_master
async def test_a_batch_has_its_jobs_and_one_progress(rig: Rig) -> None:
    made = await batch(rig, *({**JOB, "labels": {"n": str(number)}} for number in range(3)), name="three")
    assert (made["name"], made["total"], made["counts"], made["done"], made["fraction"], made["skipped"]) == (
        "three", 3, {"queued": 3}, False, 0.0, []
    )  # fmt: skip
    node = await rig.register()
    first, second = await node.claim(limit=2)
    await node.report("start", first)
    await node.report("complete", first)
    await node.report("fail", second, **{"class": "input", "message": "cannot read the input: it is empty"})
    shown = await rig.get(f"/v1/batches/{made['id']}")
    assert (shown["counts"], shown["ended"]) == ({"completed": 1, "failed": 1, "queued": 1}, 2)
    (failed,) = shown["failed"]
    assert (failed["number"], failed["failure"]["message"]) == (2, "cannot read the input: it is empty")
    page = await rig.get(f"/v1/batches/{made['id']}/jobs?limit=2")
    assert [job["labels"]["n"] for job in page["jobs"]] == ["0", "1"]
    rest = await rig.get(f"/v1/batches/{made['id']}/jobs?limit=2&cursor={page['next']}")
    assert ([job["labels"]["n"] for job in rest["jobs"]], rest["next"]) == (["2"], None)
    only = await rig.get(f"/v1/batches/{made['id']}/jobs?state=failed&state=queued")
    assert [job["number"] for job in only["jobs"]] == [2, 3]
    again = await rig.post(f"/v1/batches/{made['id']}/retry")
    assert again == {"changed": [2], "passed_over": {}, "next": None}
    gone = await rig.post(f"/v1/batches/{made['id']}/cancel", {"limit": 1})
    assert (gone["changed"], gone["next"]) == ([2], "2")
    gone = await rig.post(f"/v1/batches/{made['id']}/cancel", {"after": gone["next"], "limit": 1})
    assert gone["changed"] == [3]
    shown = await rig.get(f"/v1/batches/{made['id']}")
    assert (shown["done"], shown["fraction"], shown["counts"]) == (True, 1.0, {"canceled": 2, "completed": 1})
    wrong = await rig.call("POST", f"/v1/batches/{made['id']}/cancel", json={"after": "x"})
    assert wrong.status_code == 400


@on_master
async def test_every_job_that_is_wrong_is_named_and_none_is_accepted(rig: Rig) -> None:
    jobs: list[dict[str, object]] = [
        JOB,
        {"profile": "no-such", "input": "/media/a.mp4"},
        {"input": "relative.mp4"},
        {**JOB, "priority": "urgent"},
        {**JOB, "wishes": 3},
        {**JOB, "after": ["77"]},
        {"input": "upload://u" + "0" * 32},
        {**JOB, "tenant": "other"},
        {**JOB, "engine": "gstreamer"},
    ]
    response = await rig.call("POST", "/v1/batches", json={"jobs": jobs})
    problem = response.json()
    assert (response.status_code, problem["detail"].partition(";")[0]) == (
        422, "cannot accept the batch: 8 of its 9 jobs are wrong, and nothing was accepted"
    )  # fmt: skip
    assert [one["field"] for one in problem["errors"]] == [
        "jobs[1].profile", "jobs[2].input", "jobs[3].priority", "jobs[4].wishes", "jobs[5].after[0]", "jobs[6].input",
        "jobs[7].tenant", "jobs[8].engine",
    ]  # fmt: skip
    assert await numbers(rig) == 0
    made = await batch(rig, *jobs, skip_bad=True)
    assert (made["total"], [one["place"] for one in made["skipped"]]) == (1, [1, 2, 3, 4, 5, 6, 7, 8])
    assert made["skipped"][2]["errors"][0]["allowed"] == ["high", "medium", "low"]
    nothing_good = await rig.call("POST", "/v1/batches", json={"jobs": jobs[1:], "skip_bad": True})
    assert nothing_good.status_code == 422
    for size in (0, MOST_JOBS + 1):
        response = await rig.call("POST", "/v1/batches", json={"jobs": [{}] * size})
        assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "jobs"), size


@on_master
async def test_a_repeated_batch_adds_nothing_and_its_key_is_good_for_one_body(rig: Rig) -> None:
    headers = {"idempotency-key": "monday"}
    made = await batch(rig, JOB, JOB, headers=headers)
    again = await batch(rig, JOB, JOB, headers=headers)
    assert (again["id"], await numbers(rig)) == (made["id"], 2)
    other = await rig.call("POST", "/v1/batches", json={"jobs": [JOB]}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "urn:millrace:problem:idempotency-key-reused")
    # A job's keys are another matter.
    await rig.post("/v1/jobs", JOB, status=201, headers=headers)
    assert await numbers(rig) == 3


@on_master
async def test_over_a_quota_the_whole_batch_is_refused(rig: Rig) -> None:
    await limited(rig, queued=3)
    await rig.submit(tenant="acme")
    response = await rig.call("POST", "/v1/batches", json={"jobs": [JOB] * 3, "tenant": "acme"})
    assert (response.status_code, response.json()["over"]) == (
        429, {"tenant": "acme", "quota": "queued", "limit": 3, "used": 1}
    )  # fmt: skip
    assert response.json()["detail"].startswith("cannot accept the batch of 3 jobs: tenant acme has 1 jobs")
    assert await numbers(rig) == 1
    made = await batch(rig, JOB, JOB, tenant="acme")
    await rig.post(f"/v1/batches/{made['id']}/cancel")
    await rig.submit(tenant="acme")
    # Of two that ended, one may wait again.
    again = await rig.post(f"/v1/batches/{made['id']}/retry")
    assert (again["changed"], list(again["passed_over"])) == ([2], ["3"])
    assert "its quota `queued` is 3" in again["passed_over"]["3"]
    full = await rig.call("POST", f"/v1/batches/{made['id']}/retry")
    assert full.status_code == 429
    await limited(rig, queued=None, per_day=1)
    response = await rig.call("POST", "/v1/batches", json={"jobs": [JOB], "tenant": "acme"})
    assert (response.status_code, "retry-after" in response.headers) == (429, True)


@on_master
async def test_a_tenant_sees_and_makes_only_its_own_batches(rig: Rig) -> None:
    other = await batch(rig, JOB, tenant="other")
    mine = await key(rig, "mine")
    made = await batch(rig, {**JOB, "tenant": "mine"}, JOB, headers=mine)
    assert made["tenant"] == "mine"
    assert [one["id"] for one in (await rig.get("/v1/batches", headers=mine))["batches"]] == [made["id"]]
    assert (await rig.get("/v1/batches?tenant=other", headers=mine))["batches"] == []
    assert [one["id"] for one in (await rig.get("/v1/batches?limit=1"))["batches"]] == [made["id"]]
    assert [one["id"] for one in (await rig.get("/v1/batches?tenant=other"))["batches"]] == [other["id"]]
    for body in ({"jobs": [JOB], "tenant": "other"}, {"jobs": [{**JOB, "tenant": "other"}]}):
        assert (await rig.call("POST", "/v1/batches", json=body, headers=mine)).status_code == 422
    assert (await rig.call("POST", f"/v1/batches/{other['id']}/cancel", headers=mine)).status_code == 404


@on_master
async def test_the_trail_tells_of_a_batch_without_its_jobs(rig: Rig) -> None:
    made = await batch(rig, {**JOB, "labels": {"secret": "inner"}}, name="three")
    await rig.post(f"/v1/batches/{made['id']}/cancel")
    entries = (await rig.get("/v1/audit?path=/v1/batches"))["entries"]
    assert [one["path"] for one in entries] == [f"/v1/batches/{made['id']}/cancel", "/v1/batches"]
    assert (entries[0]["before"]["counts"], entries[0]["after"]["counts"]) == ({"queued": 1}, {"canceled": 1})
    assert entries[1]["after"] == {"batch": made["id"], "name": "three", "jobs": 1, "tenant": "default"}
    await rig.call("POST", "/v1/batches", json={"jobs": [{"profile": "no-such"}], "name": "bad"})
    (entry, *_) = (await rig.get("/v1/audit?path=/v1/batches"))["entries"]
    assert (entry["status"], entry["request"]) == (422, {"name": "bad", "jobs": 1})


# After others -----------------------------------------------------------------------------------------------------------


@on_master
async def test_a_job_says_what_it_runs_after_and_waits_for(rig: Rig) -> None:
    first = await rig.submit()
    second = await rig.submit(after=["1"])
    assert (second["state"], second["after"]) == ("pending", [first["id"]])
    assert (await rig.get("/v1/jobs/2"))["held_back"] == "it runs after job 1 (queued)"
    node = await rig.register()
    (task,) = await node.claim()
    await node.report("complete", task)
    await release_waiting(rig.farm)
    shown = await rig.get("/v1/jobs/2")
    assert (shown["state"], shown["after"], shown["held_back"]) == ("queued", [first["id"]], "")
    refused = await rig.call("POST", "/v1/jobs", json={**JOB, "after": ["1", "9"]})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "after[1]")


@on_master
async def test_the_duty_of_a_master_lets_a_job_run(rig: Rig) -> None:
    await rig.submit()
    await rig.submit(after=["1"], labels={"second": "yes"})
    node = await rig.register()
    (task,) = await node.claim()
    await node.report("complete", task)
    (given,) = await node.claim(wait_s=20)  # by the clock of the machine, within the duty's half second
    assert given["number"] == 2


@on_master
async def test_a_tenant_cannot_tell_another_tenants_job_from_none(rig: Rig) -> None:
    await rig.submit(tenant="other")
    mine = await key(rig, "mine")
    texts = [
        (await rig.call("POST", "/v1/jobs", json={**JOB, "after": [ref]}, headers=mine)).text.replace(ref, "N")
        for ref in ("1", "9")
    ]
    assert texts[0] == texts[1]
    assert "there is no job" in texts[0]


# Schedules --------------------------------------------------------------------------------------------------------------

NIGHTLY = {"name": "nightly", "cron": "30 3 * * *", "zone": "Europe/Berlin", "job": JOB}


@on_master
async def test_a_schedule_is_made_shown_steered_and_forgotten(rig: Rig) -> None:
    made = await rig.post("/v1/schedules", NIGHTLY, status=201)
    assert (made["name"], made["paused"], made["runs"], made["job"]) == (
        "nightly",
        False,
        [],
        {**JOB, "parameters": {}},
    )
    assert [one["id"] for one in (await rig.get("/v1/schedules"))["schedules"]] == [made["id"]]
    assert (await rig.post("/v1/schedules/nightly/pause"))["due"] is None
    run = await rig.post(f"/v1/schedules/{made['id']}/trigger")
    assert (run["job"], run["outcome"], run["state"]) == (1, "submitted", "queued")
    busy = await rig.call("POST", "/v1/schedules/nightly/trigger")
    assert (busy.status_code, busy.json()["detail"]) == (409, "cannot run schedule nightly: job 1 had not ended")
    assert (await rig.post("/v1/schedules/nightly/resume"))["due"] == made["due"]
    shown = await rig.get("/v1/schedules/nightly")
    assert ([one["job"] for one in shown["runs"]], shown["last_state"]) == ([1], "queued")
    again = await rig.call("POST", "/v1/schedules", json=NIGHTLY)
    assert again.status_code == 409
    wrong = await rig.call("POST", "/v1/schedules", json={**NIGHTLY, "cron": "no", "zone": "Mars/Phobos"})
    assert (wrong.status_code, [one["field"] for one in wrong.json()["errors"]]) == (422, ["cron", "zone"])
    assert (await rig.call("DELETE", "/v1/schedules/nightly")).status_code == 204
    assert (await rig.call("GET", "/v1/schedules/nightly")).status_code == 404
    assert (await rig.get("/v1/jobs/1"))["state"] == "queued"
    entries = (await rig.get("/v1/audit?path=/v1/schedules"))["entries"]
    assert [one["method"] for one in entries][-1] == "POST"
    assert entries[-1]["after"]["cron"] == "30 3 * * *"


@on_master
async def test_a_tenant_keeps_only_its_own_schedules(rig: Rig) -> None:
    other = await rig.post("/v1/schedules", {**NIGHTLY, "job": {**JOB, "tenant": "other"}}, status=201)
    mine = await key(rig, "mine")
    made = await rig.post("/v1/schedules", NIGHTLY, status=201, headers=mine)
    assert (made["tenant"], made["job"]["tenant"]) == ("mine", "mine")
    assert [one["id"] for one in (await rig.get("/v1/schedules", headers=mine))["schedules"]] == [made["id"]]
    for verb in ("pause", "trigger"):
        assert (await rig.call("POST", f"/v1/schedules/{other['id']}/{verb}", headers=mine)).status_code == 404
    run = await rig.post("/v1/schedules/nightly/trigger", headers=mine)
    assert (await rig.get(f"/v1/jobs/{run['job']}", headers=mine))["tenant"] == "mine"
    elsewhere = {**NIGHTLY, "name": "n", "job": {**JOB, "tenant": "other"}}
    assert (await rig.call("POST", "/v1/schedules", json=elsewhere, headers=mine)).status_code == 422
    # For everybody, two have this name.
    assert (await rig.call("GET", "/v1/schedules/nightly")).status_code == 409


@on_master
async def test_runs_are_counted(rig: Rig) -> None:
    await rig.post("/v1/schedules", NIGHTLY, status=201)
    await asyncio.gather(*(rig.call("POST", "/v1/schedules/nightly/trigger") for _ in range(2)))
    text = (await rig.call("GET", "/metrics")).text
    assert 'millrace_schedule_runs_total{outcome="submitted"} 1' in text
