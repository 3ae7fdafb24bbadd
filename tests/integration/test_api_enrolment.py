"""Machines join over HTTP: whom a token lets in, and as whom a machine may act afterwards."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import httpx2
from api_serving import Node, Rig, on_master, on_server
from test_api_audit import told, trail
from test_api_keys import key

from millrace.api.table import TABLE
from millrace.domain.invitations import pin_for, pin_of
from millrace.edge import audit, certificates
from millrace.edge.certificates import Pair
from millrace.edge.route import Access, Body


class Authority:
    """As programs have it, with its key in memory."""

    def __init__(self) -> None:
        self.pair = certificates.new_authority(datetime.now(UTC))
        self.certificate = self.pair.certificate
        self.vouches = True

    def sign(self, request: bytes, key_id: str) -> tuple[bytes, datetime]:
        signed = certificates.worker_certificate(self.pair, request, key_id, datetime.now(UTC))
        return signed.certificate, signed.ends


class Machine:
    """One that has joined, with the key that it got."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig = rig
        self.name = name
        self.own: Pair = certificates.new_request()
        self.headers: dict[str, str] = {}

    async def join(self, token: str) -> httpx2.Response:
        body = {"token": token, "fingerprint": f"print-{self.name}", "request": self.own.certificate.decode()}
        response = await self.rig.call("POST", "/v1/join", json=body, headers={"x-api-key": ""})
        if response.status_code == 201:
            self.headers = {"x-api-key": response.json()["key"]}
        return response

    async def register(self) -> Node:
        body = {"fingerprint": f"print-{self.name}", "boot_id": "boot-0001", "name": self.name, "slots": 16,
                "engines": ["ffmpeg"], "encoders": {"libx264": "", "aac": ""}}  # fmt: skip
        reply = await self.rig.post("/v1/nodes", body, headers=self.headers)
        return Node(self.rig, reply["node"], reply["epoch"])


async def token_of(rig: Rig, **more: object) -> str:
    return str((await rig.post("/v1/invitations", more or None, status=201))["token"])


async def joined(rig: Rig, name: str) -> Machine:
    machine = Machine(rig, name)
    assert (await machine.join(await token_of(rig))).status_code == 201
    return machine


@on_master
async def test_a_token_lets_one_machine_in_and_its_key_is_that_of_a_node(rig: Rig) -> None:
    token = await token_of(rig)
    assert pin_of(token) == b""
    one, two = Machine(rig, "one"), Machine(rig, "two")
    reply = (await one.join(token)).json()
    assert (reply["certificate"], reply["authority"], reply["ends"]) == ("", "", None)
    node = await one.register()
    assert node.id == reply["node"]
    refused = await two.join(token)
    assert (refused.status_code, refused.json()["type"]) == (401, "urn:millrace:problem:not-invited")
    assert "`millrace nodes invite`" in refused.json()["detail"]
    assert [(one["name"], one["role"], one["node"]) for one in (await rig.get("/v1/keys"))["keys"]] == [
        (node.id, "worker", node.id)
    ]
    # Who lost the answer asks again, with the key that he made, and nobody else knows it.
    before = dict(one.headers)
    assert (await one.join(token)).json()["node"] == node.id
    assert one.headers != before
    assert (await rig.call("POST", f"/v1/nodes/{node.id}/claim", headers=before, json={})).status_code == 401


@on_master
async def test_the_token_pins_the_authority_and_the_machine_gets_a_certificate(rig: Rig) -> None:
    rig.app.master.authority = Authority()
    machine = Machine(rig, "one")
    token = await token_of(rig)
    shown = await rig.call("GET", "/v1/authority", headers={"x-api-key": ""})
    assert pin_of(token) == pin_for(shown.content)
    reply = (await machine.join(token)).json()
    (found,) = (await rig.get("/v1/keys"))["keys"]
    first = certificates.x509.load_pem_x509_certificate(reply["certificate"].encode())
    assert first.subject.rfc4514_string() == f"CN={found['id']},O=Millrace worker"
    assert reply["authority"].encode() == shown.content
    first.verify_directly_issued_by(certificates.x509.load_pem_x509_certificate(shown.content))
    again = await rig.post(
        f"/v1/nodes/{reply['node']}/certificate",
        {"request": machine.own.certificate.decode()},
        headers=machine.headers,
    )
    second = certificates.x509.load_pem_x509_certificate(again["certificate"].encode())
    assert (second.subject, second.public_key()) == (first.subject, first.public_key())
    # A key of people, or one for any node, has no certificate.
    unbound = await key(rig, "workers", "worker")
    body = {"request": machine.own.certificate.decode()}
    refused = await rig.call("POST", f"/v1/nodes/{reply['node']}/certificate", json=body, headers=unbound)
    assert refused.status_code == 403


@on_master
async def test_who_comes_with_nonsense_does_not_get_in(rig: Rig) -> None:
    token = await token_of(rig)
    machine = Machine(rig, "one")
    for wrong, words in (
        (token[:-1], "has a typo"),
        (token[:-1] + ("a" if token[-1] != "a" else "b"), "has a typo"),
        ("mrj_", "has a typo"),
        ("mr_" + "0" * 49, "has a typo"),
        ("", None),
        ("x" * 1000, None),
    ):
        refused = await machine.join(wrong)
        assert (refused.status_code, words in refused.text if words else True) == (401 if words else 400, True), wrong
    other = token_of(rig)
    assert "typo" not in (await Machine(rig, "two").join(await other)).text
    made = certificates.new_request().certificate
    for request in (
        b"no request",
        made[:-40],
        made.replace(b"A", b"B", 3),
        certificates.new_authority(datetime.now(UTC)).certificate,
    ):
        body = {"token": token, "fingerprint": "print-one", "request": request.decode()}
        refused = await rig.call("POST", "/v1/join", json=body)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "request"), request
    assert (await machine.join(token)).status_code == 201  # nothing of it used the token up
    for role, status in (("viewer", 403), ("submitter", 403), ("worker", 403), ("operator", 201), ("admin", 201)):
        response = await rig.call("POST", "/v1/invitations", headers=await key(rig, role, role))
        assert response.status_code == status, role
    ended = await token_of(rig, lasts_s=1)
    from datetime import timedelta

    from api_serving import time_passed

    time_passed[0] = timedelta(seconds=2)
    assert (await Machine(rig, "three").join(ended)).status_code == 401


@on_master
async def test_a_machine_cannot_act_as_another_on_any_route(rig: Rig) -> None:
    one, two = await joined(rig, "one"), await joined(rig, "two")
    mine, theirs = await one.register(), await two.register()
    await rig.submit()
    (task,) = await theirs.claim()
    checked = 0
    for route in TABLE:
        if route.access is not Access.WORK:
            continue
        for node, own in ((theirs, False), (mine, True)):
            path = re.sub(r"\{ref\}", node.id, route.path).replace("{task}", task["task"]).replace("{name*}", "a.mp4")
            path = path.replace("{position}", "2")
            fields: dict[str, Any] = {
                "node": node.id, "attempt": task["attempt"], "epoch": node.epoch, "request": "request-99",
                "fingerprint": "print-one" if own else "print-two", "boot_id": "boot-0001", "name": "x", "slots": 1,
                "class": "input", "message": "no", "reason": "because", "encoders": {},
                "engine": "ffmpeg-parts", "parts": [{"kind": "chunk"}], "plan": {}, "files": [],
            }  # fmt: skip
            if route.path.endswith(("/helpers", "/split")):
                fields["encoders"] = ["libx264"]
            if route.path.endswith("/certificate"):
                fields["request"] = one.own.certificate.decode()
            sent: dict[str, Any] = {"content": b"abc"}
            if route.body in (Body.JSON, Body.OPTIONAL_JSON):
                wanted = {field.encode_name for field in _fields(route.request)}
                sent = {"json": {name: value for name, value in fields.items() if name in wanted}}
            query = f"?node={node.id}&attempt={task['attempt']}" + ("&offset=0" if route.path.endswith("/log") else "")
            fenced = any(param.name == "node" for param in route.params)
            url = path + query if fenced else path
            answer = await rig.call(route.method, url, headers=one.headers, **sent)
            free = route.path in ("/jobs/next", "/results") or (own and route.path != "/nodes/register")
            assert (answer.status_code == 403) is not free, (route.method, route.path, own, answer.text)
            assert answer.status_code not in (400, 401, 500), (route.path, answer.text)
            checked += 1
    assert checked == 2 * sum(route.access is Access.WORK for route in TABLE) >= 24
    # And nothing that belongs to the other has changed.
    job = await rig.get("/v1/jobs/1")
    assert (job["state"], [attempt["outcome"] for attempt in job["attempts"]]) == ("assigned", [None])
    assert (await rig.call("GET", "/v1/jobs/1/logs")).text == ""
    await theirs.report("start", task)


def _fields(shape: object) -> Any:
    import msgspec

    kind = shape if isinstance(shape, type) else next(one for one in shape.__args__ if one is not type(None))  # type: ignore[attr-defined]
    return msgspec.structs.fields(kind)


@on_server
async def test_a_node_whose_key_is_revoked_is_out_at_once_and_its_work_goes_back(rig: Rig) -> None:
    one = await joined(rig, "one")
    node = await one.register()
    await rig.submit()
    (task,) = await node.claim()
    claim = {"epoch": node.epoch, "request": "request-77", "limit": 1, "wait_s": 20}
    parked = asyncio.create_task(rig.call("POST", f"/v1/nodes/{node.id}/claim", json=claim, headers=one.headers))
    while not rig.farm.waiting:
        await asyncio.sleep(0)
    revoked = await rig.post(f"/v1/nodes/{node.id}/revoke")
    assert (revoked["state"], revoked["holding"]) == ("lost", 0)
    assert (await rig.get("/v1/jobs/1"))["state"] == "queued"
    assert (await parked).status_code in (200, 409)
    beat = {"epoch": node.epoch, "tasks": []}
    assert (await rig.call("POST", f"/v1/nodes/{node.id}/heartbeat", json=beat, headers=one.headers)).status_code == 401
    assert task["attempt"] == 1
    # It may come back, with another token, and is the same node.
    assert (await one.join(await token_of(rig))).json()["node"] == node.id
    again = await one.register()
    assert (again.id, again.epoch > node.epoch) == (node.id, True)
    await rig.post(f"/v1/keys/{node.id}/revoke")  # which says the same
    assert (await rig.get(f"/v1/nodes/{node.id}"))["state"] == "lost"
    assert (await rig.call("DELETE", f"/v1/nodes/{node.id}")).status_code == 204
    # One that has no key of its own is told so.
    shared = await rig.register("two")
    refused = await rig.call("POST", f"/v1/nodes/{shared.id}/revoke")
    assert (refused.status_code, "none of its own" in refused.json()["detail"]) == (409, True)


@on_master
async def test_the_key_of_a_machine_ends_with_the_node_and_is_not_rotated(rig: Rig) -> None:
    one = await joined(rig, "one")
    node = await one.register()
    rotated = await rig.call("POST", f"/v1/keys/{node.id}/rotate")
    assert (rotated.status_code, "join again" in rotated.json()["detail"]) == (409, True)
    assert (await rig.call("POST", "/v1/keys", json={"name": "n" + "0" * 32, "role": "viewer"})).status_code == 422
    assert (await rig.call("DELETE", f"/v1/nodes/{node.id}")).status_code == 204
    beat = {"epoch": node.epoch, "tasks": []}
    answer = await rig.call("POST", f"/v1/nodes/{node.id}/heartbeat", json=beat, headers=one.headers)
    assert answer.status_code == 401


@on_master
async def test_the_trail_says_who_invited_and_who_joined_and_holds_no_token(rig: Rig, capfd: Any) -> None:
    tokens = [await token_of(rig), await token_of(rig)]
    one = Machine(rig, "one")
    node = (await one.join(tokens[0])).json()["node"]
    await Machine(rig, "two").join(tokens[0])
    await rig.call("POST", "/v1/join", json={"token": tokens[1]})
    entries = [one for one in await trail(rig) if one["route"] in ("/v1/invitations", "/v1/join")]
    assert [told(one, "caller", "route", "status") for one in entries] == [
        ("api", "/v1/invitations", 201),
        ("api", "/v1/invitations", 201),
        ("", "/v1/join", 201),
        ("", "/v1/join", 401),
        ("", "/v1/join", 400),
    ]
    assert entries[2]["after"]["node"] == node
    said = str(entries) + capfd.readouterr().err
    assert not [secret for secret in (*tokens, one.headers["x-api-key"]) if secret in said]


@on_master
async def test_strangers_who_send_nonsense_do_not_fill_the_trail(rig: Rig) -> None:
    for _ in range(audit.STRANGERS_A_MINUTE + 5):
        assert (await rig.call("POST", "/v1/join", json={}, headers={"x-api-key": ""})).status_code == 400
    assert len(await trail(rig)) <= audit.STRANGERS_A_MINUTE
