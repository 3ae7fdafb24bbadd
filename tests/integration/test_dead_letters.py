"""Jobs that failed for good although they may well work: found, and run again. Through HTTP."""

from typing import Any

from api_serving import Node, Rig, on_master


async def _fails(rig: Rig, node: Node, failure_class: str, **job: object) -> Any:
    submitted = await rig.submit(max_retries=0, **job)
    (task,) = await node.claim()
    await node.report("fail", task, **{"class": failure_class, "message": f"it failed of {failure_class}"})
    return submitted["number"]


async def _numbers(rig: Rig, query: str) -> list[int]:
    return [job["number"] for job in (await rig.get(f"/v1/jobs?{query}"))["jobs"]]


@on_master
async def test_dead_are_those_that_failed_of_the_platform(rig: Rig) -> None:
    node = await rig.register()
    network = await _fails(rig, node, "network", tenant="a")
    broken = await _fails(rig, node, "input")
    disk = await _fails(rig, node, "disk")
    await rig.submit()
    assert await _numbers(rig, "dead=true") == [disk, network]
    assert await _numbers(rig, "dead=true&tenant=a") == [network]
    assert await _numbers(rig, "dead=true&failure_class=disk") == [disk]
    assert await _numbers(rig, "failure_class=input&failure_class=disk") == [disk, broken]
    assert await _numbers(rig, "dead=true&limit=1") == [disk]
    (first, _) = (await rig.get("/v1/jobs?dead=true"))["jobs"]
    assert (first["attempt_count"], first["failure"]["message"]) == (1, "it failed of disk")
    for wrong in ("dead=yes", "failure_class=bad", "dead=true&state=failed"):
        assert (await rig.call("GET", f"/v1/jobs?{wrong}")).status_code == 400, wrong


@on_master
async def test_many_run_again_with_their_history(rig: Rig) -> None:
    node = await rig.register()
    network = [await _fails(rig, node, "network") for _ in range(3)]
    disk = await _fails(rig, node, "disk")
    broken = await _fails(rig, node, "input")
    page = await rig.post("/v1/jobs/retry", {"failure_class": ["network"], "limit": 2})
    assert page["retried"] == network[:0:-1]
    page = await rig.post("/v1/jobs/retry", {"failure_class": ["network"], "limit": 2, "before": page["next"]})
    assert page == {"retried": [network[0]], "next": None}
    assert await rig.post("/v1/jobs/retry", {"failure_class": ["network"]}) == {"retried": [], "next": None}
    shown = await rig.get(f"/v1/jobs/{network[0]}")
    assert [one["to"] for one in shown["transitions"]] == ["queued", "assigned", "failed", "queued"]
    assert (shown["state"], shown["failure"], len(shown["attempts"])) == ("queued", None, 1)
    assert (await rig.post("/v1/jobs/retry", {}))["retried"] == [disk]
    assert (await rig.get(f"/v1/jobs/{broken}"))["state"] == "failed"
    for wrong in ({"before": "x"}, {"failure_class": ["bad"]}, {"state": "failed"}):
        assert (await rig.call("POST", "/v1/jobs/retry", json=wrong)).status_code in (400, 422), wrong


@on_master
async def test_a_tenant_runs_only_its_own_again(rig: Rig) -> None:
    node = await rig.register()
    mine = await _fails(rig, node, "network", tenant="mine")
    other = await _fails(rig, node, "network", tenant="other")
    secret = (await rig.post("/v1/keys", {"name": "k", "role": "submitter", "tenant": "mine"}, status=201))["secret"]
    key = {"x-api-key": secret}
    page = await rig.post("/v1/jobs/retry", {}, headers=key)
    assert page["retried"] == [mine]
    assert (await rig.post("/v1/jobs/retry", {"tenant": "other"}, headers=key))["retried"] == []
    assert (await rig.get(f"/v1/jobs/{other}"))["state"] == "failed"
