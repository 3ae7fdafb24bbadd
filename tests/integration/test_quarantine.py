"""A node that fails what others finish: taken out, seen, and taken in again by hand or after a proof. Through HTTP."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from api_serving import KEY, Node, Rig, listening, on_master, on_pages, time_passed
from fake_engine import FakeEngine
from farm_worker import running
from msgspec.structs import force_setattr

from millrace.domain.elsewhere import AVOID_S
from millrace.domain.quarantine import FIRST_PROOF_S
from millrace.scheduler.promote import promote_due

BROKE = {"class": "engine", "message": "the encoder broke"}


async def _beat(node: Node) -> Any:
    return await node.rig.post(f"/v1/nodes/{node.id}/heartbeat", {"epoch": node.epoch})


async def _due(rig: Rig) -> None:
    """The back-off of what waits is over."""
    time_passed[0] += timedelta(seconds=20)
    await promote_due(rig.farm)


async def _fails_what_others_finish(rig: Rig, bad: Node, good: Node, times: int, **job: object) -> None:
    for _ in range(times):
        await rig.submit(**job)
        (task,) = await bad.claim()
        await bad.report("fail", task, **BROKE)
        await _due(rig)
        assert await bad.claim() == []
        (task,) = await good.claim()
        await good.report("complete", task)
        await _beat(bad)
        await _beat(good)


@on_master
async def test_it_is_taken_out_with_the_reason_and_released_by_hand(rig: Rig) -> None:
    bad, good = await rig.register("bad"), await rig.register("good")
    await _fails_what_others_finish(rig, bad, good, 2)
    assert (await rig.get("/v1/nodes/bad"))["quarantine"] is None
    await _fails_what_others_finish(rig, bad, good, 1)
    shown = await rig.get("/v1/nodes/bad")
    assert shown["state"] == "quarantined"
    assert shown["quarantine"]["reason"] == (
        "it failed 3 jobs that other nodes then finished, the last of them job 3 (engine): the encoder broke"
    )
    assert 'millrace_nodes{state="quarantined"} 1' in (await rig.call("GET", "/metrics")).text
    await rig.submit()
    assert await bad.claim() == []
    beat = await _beat(bad)
    assert (beat["drain"], beat["prove"]) == (True, False)
    refused = await rig.call("POST", "/v1/nodes/bad/resume")
    assert refused.status_code == 409
    assert "millrace nodes release" in refused.json()["detail"]
    assert (await rig.post("/v1/nodes/bad/release"))["state"] == "ready"
    assert (await rig.call("POST", "/v1/nodes/bad/release")).status_code == 409
    assert len(await bad.claim()) == 1


@on_master
async def test_a_proof_releases_it_once_it_is_due_and_one_that_fails_puts_it_off(rig: Rig) -> None:
    bad, good = await rig.register("bad"), await rig.register("good")
    await _fails_what_others_finish(rig, bad, good, 3)
    time_passed[0] += timedelta(seconds=FIRST_PROOF_S)
    assert (await _beat(bad))["prove"]
    proof = {"epoch": bad.epoch, "encoders": {"libx264": "no such device", "aac": ""}}
    answer = await rig.post(f"/v1/nodes/{bad.id}/proof", proof)
    assert answer == {
        "released": False,
        "reason": "its proof failed: libx264 does not work any more: no such device",
    }
    time_passed[0] += timedelta(seconds=FIRST_PROOF_S)
    await rig.register("bad")
    assert not (await _beat(bad))["prove"]
    time_passed[0] += timedelta(seconds=FIRST_PROOF_S)
    await rig.register("bad")
    assert (await _beat(bad))["prove"]
    stale = await rig.call("POST", f"/v1/nodes/{bad.id}/proof", json={**proof, "epoch": bad.epoch + 1})
    assert stale.status_code == 409
    proof["encoders"] = {"libx264": "", "aac": ""}
    assert await rig.post(f"/v1/nodes/{bad.id}/proof", proof) == {"released": True, "reason": ""}
    assert (await rig.get("/v1/nodes/bad"))["state"] == "ready"
    # What had counted before counts no more.
    await rig.register("good")
    await _fails_what_others_finish(rig, bad, good, 2)
    assert (await rig.get("/v1/nodes/bad"))["state"] == "ready"


@on_master
async def test_one_broken_film_quarantines_nobody(rig: Rig) -> None:
    nodes = [await rig.register(name) for name in ("a", "b", "c", "d")]
    for _ in range(4):
        await rig.submit(max_retries=3)
        for _ in range(4):
            for node in nodes:
                for task in await node.claim():
                    await node.report("fail", task, **BROKE)
            await _due(rig)
            for node in nodes:
                await _beat(node)
    assert {job["state"] for job in (await rig.get("/v1/jobs"))["jobs"]} == {"failed"}
    assert {node["state"] for node in (await rig.get("/v1/nodes"))["nodes"]} == {"ready"}


@on_master
async def test_the_only_node_that_is_left_works_on(rig: Rig) -> None:
    bad, good = await rig.register("bad"), await rig.register("good")
    await _fails_what_others_finish(rig, bad, good, 3)
    third = await rig.register("third")
    await rig.call("POST", "/v1/nodes/bad/release")
    await _fails_what_others_finish(rig, bad, good, 3)
    assert (await rig.get("/v1/nodes/bad"))["state"] == "quarantined"
    await _fails_what_others_finish(rig, third, good, 4)
    assert (await rig.get("/v1/nodes/third"))["state"] == "ready"


@on_master
async def test_a_farm_of_one_node_tries_again_on_it_at_once(rig: Rig) -> None:
    node = await rig.register("one")
    await rig.submit()
    (task,) = await node.claim()
    await node.report("fail", task, **BROKE)
    await _due(rig)
    (task,) = await node.claim()
    assert task["attempt"] == 2


@on_master
async def test_what_nobody_else_took_goes_back_after_a_while(rig: Rig) -> None:
    one = await rig.register("one")
    await rig.register("two")
    await rig.submit()
    (task,) = await one.claim()
    await one.report("fail", task, **BROKE)
    await _due(rig)
    assert await one.claim() == []
    time_passed[0] += timedelta(seconds=AVOID_S)
    assert len(await one.claim()) == 1


@on_pages
async def test_the_status_page_says_why(rig: Rig) -> None:
    bad, good = await rig.register("bad"), await rig.register("good")
    await _fails_what_others_finish(rig, bad, good, 3)
    page = await rig.call("GET", "/ui/overview")
    assert "quarantined" in page.text
    assert "it failed 3 jobs that other nodes then finished" in page.text


def test_a_worker_tries_its_encoders_anew_and_takes_work_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as rig:
            force_setattr(rig.farm.rules, "heartbeat_s", 0.1)
            engine = FakeEngine(tmp_path / "engine")
            url = str(rig.client.base_url)
            source = engine.source(("libx264", "aac"))
            async with running(None, tmp_path, [source], urls=[url], key=KEY) as worker:
                trials = tmp_path / "engine" / "proofs"
                assert sorted(trials.read_text().split()) == ["aac", "libx264"]
                assert await rig.farm.store.quarantine(worker.node, reason="a test", proof_after_s=0, times=1)
                async with asyncio.timeout(30):
                    while (await rig.get(f"/v1/nodes/{worker.node}"))["state"] != "ready":
                        await asyncio.sleep(0)
                assert sorted(trials.read_text().split()) == ["aac", "aac", "libx264", "libx264"]
                await rig.submit()
                assert await asyncio.wait_for(engine.begun(), 30)

    asyncio.run(main())
