"""A worker that was broken into: it does what its own tasks need, and nothing else."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from api_serving import Node, Rig, on_master, on_server, serving, time_passed
from test_api_audit import trail
from test_api_enrolment import Machine, joined
from test_api_keys import key

from millrace.edge.access import Rate, Rates

FILM = b"film of a tenant"
OCTETS = {"content-type": "application/octet-stream"}


async def _upload(rig: Rig) -> str:
    view = await rig.post("/v1/uploads", {"name": "film.mp4", "size": len(FILM)}, status=201)
    headers = {"content-type": "application/offset+octet-stream", "upload-offset": "0"}
    assert (await rig.call("PATCH", f"/v1/uploads/{view['id']}", content=FILM, headers=headers)).status_code == 200
    return str(view["id"])


class Worker:
    """One that speaks with a key of its own."""

    def __init__(self, rig: Rig, headers: Mapping[str, str], name: str) -> None:
        self.rig, self.headers, self.name = rig, dict(headers), name
        self.node = Node(rig, "", 0)

    async def register(self, *, status: int = 200, boot: str = "boot-0001", slots: int = 4, name: str = "") -> Any:
        body = {"fingerprint": f"print-{name or self.name}", "boot_id": boot, "name": self.name, "slots": slots,
                "engines": ["ffmpeg"], "encoders": {"libx264": "", "aac": ""}}  # fmt: skip
        reply = await self.rig.post("/v1/nodes", body, status=status, headers=self.headers)
        if status == 200:
            self.node = Node(self.rig, reply["node"], reply["epoch"])
        return reply

    async def claims(self, **more: Any) -> list[Any]:
        body = {"epoch": self.node.epoch, "request": f"request-{id(object())}", "limit": 1, "wait_s": 0, **more}
        return list((await self.rig.post(f"/v1/nodes/{self.node.id}/claim", body, headers=self.headers))["tasks"])

    async def gets(self, upload: str, **headers: str) -> int:
        """The status of its request for an upload; what it gets is the film."""
        found = await self.rig.call("GET", f"/v1/uploads/{upload}/content", headers={**self.headers, **headers})
        assert (FILM in found.content) == (found.status_code == 200), found.text
        return found.status_code


async def machine(rig: Rig, name: str) -> Worker:
    found: Machine = await joined(rig, name)
    worker = Worker(rig, found.headers, name)
    await worker.register()
    return worker


async def sharing(rig: Rig, name: str) -> Worker:
    """One with a key that is bound to no node."""
    worker = Worker(rig, await key(rig, f"key-{name}", "worker"), name)
    await worker.register()
    return worker


@on_master
async def test_54_an_upload_is_read_by_who_holds_a_task_that_wants_it_and_by_no_other_worker(rig: Rig) -> None:
    mine, other = await _upload(rig), await _upload(rig)
    one, two, three = await machine(rig, "one"), await machine(rig, "two"), await sharing(rig, "three")
    for upload in (mine, other):
        assert [await worker.gets(upload) for worker in (one, two, three)] == [404] * 3
    await rig.submit(input=f"upload://{mine}")
    (task,) = await one.claims()
    assert [await worker.gets(mine) for worker in (one, two, three)] == [200, 404, 404]
    assert [await worker.gets(other) for worker in (one, two, three)] == [404] * 3
    # It is answered like one that never was.
    texts = [
        (await rig.call("GET", f"/v1/uploads/{upload}/content", headers=two.headers)).text.replace(upload, "ID")
        for upload in (mine, "u" + "0" * 32)
    ]
    assert texts[0] == texts[1].replace("u" + "0" * 32, "ID")
    # People read on as they did.
    assert await Worker(rig, await key(rig, "looks", "viewer"), "looks").gets(mine) == 200
    await rig.post(
        f"/v1/tasks/{task['task']}/complete", {"node": one.node.id, "attempt": 1, "outputs": []}, headers=one.headers
    )
    assert await one.gets(mine) == 404
    # A key that many share opens it for the nodes that registered with it.
    await rig.submit(input=f"upload://{other}")
    await three.claims()
    assert [await worker.gets(other) for worker in (one, two, three)] == [404, 404, 200]
    assert await (await sharing(rig, "four")).gets(other) == 404


@on_master
async def test_54_with_the_lease_ends_what_it_opens(rig: Rig) -> None:
    upload = await _upload(rig)
    one = await machine(rig, "one")
    await rig.submit(input=f"upload://{upload}")
    await one.claims()
    assert await one.gets(upload) == 200
    time_passed[0] = timedelta(seconds=16)
    assert await one.gets(upload) == 404
    time_passed[0] = timedelta()
    await one.register(boot="boot-0002")  # a new epoch: what the old one held is not its own any more
    assert await one.gets(upload) == 404


@on_master
async def test_53_a_key_that_is_bound_to_no_node_is_good_for_those_that_registered_with_it(rig: Rig) -> None:
    one, two = await sharing(rig, "one"), await sharing(rig, "two")
    first = await rig.register("three")
    await rig.submit()
    (task,) = await one.claims()

    async def statuses(worker: Worker, node: Node) -> set[int]:
        """What a request of each kind for this node is answered with."""
        fence = {"node": node.id, "attempt": 1}
        query = f"?node={node.id}&attempt=1"
        asked = [
            ("POST", f"/v1/nodes/{node.id}/claim", {"epoch": node.epoch + 5, "request": "request-1"}),
            ("POST", f"/v1/nodes/{node.id}/heartbeat", {"epoch": node.epoch + 5, "tasks": []}),
            ("POST", f"/v1/nodes/{node.id}/proof", {"epoch": node.epoch + 5, "encoders": {}}),
            ("POST", f"/v1/tasks/{task['task']}/start", {**fence, "attempt": 9}),
            ("POST", f"/v1/tasks/{task['task']}/fail", {**fence, "attempt": 9, "class": "input", "message": "no"}),
            ("POST", f"/v1/tasks/{task['task']}/complete", {**fence, "attempt": 9}),
            ("PUT", f"/v1/tasks/{task['task']}/outputs/a.mp4{query}9", None),
            ("POST", f"/v1/tasks/{task['task']}/log{query}9&offset=0", None),
        ]
        found = set()
        for method, path, body in asked:
            sent: dict[str, Any] = {"content": b"x"} if body is None else {"json": body}
            found.add((await rig.call(method, path, headers=worker.headers, **sent)).status_code)
        return found

    assert await statuses(two, one.node) == {403}
    assert await statuses(one, two.node) == {403}
    assert await statuses(two, first) == {403}  # whose key is the masters' own
    assert 403 not in await statuses(one, one.node)
    # Nor under the name of one.
    beat = {"epoch": 1, "encoders": {}}
    assert (await rig.call("POST", "/v1/nodes/one/proof", json=beat, headers=two.headers)).status_code == 404
    job = await rig.get("/v1/jobs/1")
    assert (job["state"], (await rig.call("GET", "/v1/jobs/1/logs")).text) == ("assigned", "")
    # A worker that is given another key is the same node: it knows the fingerprint.
    await two.register(name="one", boot="boot-0002")
    assert two.node.id == one.node.id
    assert 403 not in await statuses(two, two.node)
    assert await statuses(one, one.node) == {403}


@on_master
async def test_53_what_a_worker_says_of_its_output_is_compared_with_what_came(rig: Rig) -> None:
    await rig.submit()
    one = await machine(rig, "one")
    (task,) = await one.claims()
    path = f"/v1/tasks/{task['task']}"
    query = f"?node={one.node.id}&attempt=1"
    put = await rig.call("PUT", f"{path}/outputs/a.mp4{query}", content=b"true", headers={**one.headers, **OCTETS})
    true, false = (hashlib.sha256(data).hexdigest() for data in (b"true", b"fake"))
    assert put.json()["sha256"] == true

    def report(**output: object) -> Any:
        named = {"name": "a.mp4", "location": put.json()["url"], "sha256": true, "size": 4, **output}
        body = {"node": one.node.id, "attempt": 1, "outputs": [named]}
        return rig.call("POST", f"{path}/complete", json=body, headers=one.headers)

    for output, field in (({"sha256": false}, "outputs[0].sha256"), ({"size": 5}, "outputs[0].size")):
        refused = await report(**output)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
    assert (await rig.get("/v1/jobs/1"))["state"] == "assigned"
    assert [(await report()).status_code for _ in range(2)] == [200, 200]  # the second as after a lost answer
    assert (await rig.get("/v1/jobs/1"))["outputs"][0]["sha256"] == true
    assert await rig.farm.store.arrivals(task["task"], 1) == {}


@on_server
async def test_53_what_an_attempt_has_completed_with_is_not_replaced_by_what_was_under_way(rig: Rig) -> None:
    await rig.submit()
    one = await machine(rig, "one")
    (task,) = await one.claims()
    path = f"/v1/tasks/{task['task']}"
    url = f"{path}/outputs/a.mp4?node={one.node.id}&attempt=1"
    goes_on, begun = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"fa"
        begun.set()
        await goes_on.wait()
        yield b"ke"

    late = asyncio.create_task(rig.call("PUT", url, content=slowly(), headers={**one.headers, **OCTETS}))
    await begun.wait()
    put = (await rig.call("PUT", url, content=b"true", headers={**one.headers, **OCTETS})).json()
    named = {"name": "a.mp4", "location": put["url"], "sha256": put["sha256"], "size": 4}
    await rig.post(f"{path}/complete", {"node": one.node.id, "attempt": 1, "outputs": [named]}, headers=one.headers)
    goes_on.set()
    assert (await late).status_code == 409
    assert (await rig.call("GET", put["url"])).content == b"true"


@on_master
async def test_53_a_node_takes_no_more_than_its_slots(rig: Rig) -> None:
    for _ in range(9):
        await rig.submit()
    one = await machine(rig, "one")
    taken = await one.claims(limit=64, request="request-first")
    assert len(taken) == 4
    # At once, not after the wait: nothing would end it.
    async with asyncio.timeout(30):
        assert await one.claims(limit=64, wait_s=60) == []
    # A repeated one gets its answer all the same.
    assert await one.claims(limit=64, request="request-first") == taken
    claim = {"epoch": one.node.epoch, "request": "request-next", "limit": 64}
    body = {"node": one.node.id, "attempt": 1, "outputs": [], "claim": claim}
    reply = await rig.post(f"/v1/tasks/{taken[0]['task']}/complete", body, headers=one.headers)
    assert len(reply["tasks"]) == 1
    again = await rig.post(f"/v1/tasks/{taken[1]['task']}/hand-back",
                           {"node": one.node.id, "attempt": 1, "reason": "no room", "delay_s": 60}, headers=one.headers)  # fmt: skip
    assert again["state"] == "retrying"
    assert len(await one.claims(limit=64)) == 1
    assert (await rig.get(f"/v1/nodes/{one.node.id}"))["holding"] == 4


@on_master
async def test_55_of_two_workers_with_one_identity_the_later_one_stays(rig: Rig) -> None:
    one = await machine(rig, "one")
    thief = Worker(rig, one.headers, "one")  # the whole state folder: key, certificate, fingerprint
    await rig.submit()
    (task,) = await one.claims()
    await thief.register(boot="boot-thief")
    assert (thief.node.id, thief.node.epoch) == (one.node.id, one.node.epoch + 1)

    async def beats(worker: Worker) -> int:
        body = {"epoch": worker.node.epoch, "tasks": []}
        path = f"/v1/nodes/{worker.node.id}/heartbeat"
        return (await rig.call("POST", path, json=body, headers=worker.headers)).status_code

    assert await beats(one) == 409
    started = await rig.call(
        "POST", f"/v1/tasks/{task['task']}/start", json={"node": one.node.id, "attempt": 1}, headers=one.headers
    )
    assert started.status_code in (200, 409)  # as long as nobody has taken it back the attempt is still the node's
    # What a dead worker had sent, and comes late, keeps nobody out: the later one must have been heard of.
    await one.register()
    await thief.register(boot="boot-thief")
    time_passed[0] = timedelta(milliseconds=1)  # heard of since, not in the millisecond in which it registered
    assert await beats(thief) == 200
    for _ in range(2):
        refused = await one.register(status=409)
        assert refused["type"] == "urn:millrace:problem:superseded"
        assert "give each worker one of its own" in refused["detail"]
    assert await beats(thief) == 200
    entries = [entry for entry in await trail(rig) if entry["route"] == "/v1/nodes"]
    assert [(entry["status"], entry["caller"]) for entry in entries][-3:] == [
        (200, one.node.id), (409, one.node.id), (409, one.node.id),
    ]  # fmt: skip
    assert "print-one" not in str(entries)
    # When the later one is gone, the earlier one may come back.
    time_passed[0] = timedelta(seconds=16)
    await one.register()
    assert await beats(one) == 200


def test_53_a_flood_of_a_machine_is_bounded_and_others_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, rates=Rates(machines=Rate(per_s=0.001, burst=5))) as rig:
            one, two, three = await machine(rig, "one"), await machine(rig, "two"), await sharing(rig, "three")

            async def flood(worker: Worker) -> list[int]:
                body = {"epoch": worker.node.epoch, "tasks": []}
                path = f"/v1/nodes/{worker.node.id}/heartbeat"
                return [(await rig.call("POST", path, json=body, headers=worker.headers)).status_code for _ in range(8)]

            # Each has registered once.
            assert await flood(one) == [200] * 4 + [429] * 4
            assert await flood(two) == [200] * 4 + [429] * 4
            assert await flood(three) == [200] * 8

    asyncio.run(main())
