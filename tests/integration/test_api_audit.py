"""The audit trail of a farm: one entry for each change, kept before its answer, and nothing secret in it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from api_serving import KEY, Rig, listening, on_master, on_server

from millrace.domain.chain import Block, Check, Head, unpack
from millrace.edge import audit
from millrace.store.store import StoreUnavailableError


async def trail(rig: Rig, **query: object) -> list[Any]:
    """Its entries, oldest first."""
    journal = rig.app.master.journal
    assert journal is not None
    await journal.written()
    reply = await rig.client.get("/v1/audit", params={"limit": 500, **query})
    assert reply.status_code == 200, reply.text
    return list(reversed(reply.json()["entries"]))


def told(entry: Any, *names: str) -> tuple[object, ...]:
    return tuple(entry[name] for name in names)


@on_master
async def test_each_change_has_one_entry_with_who_what_before_and_after(rig: Rig) -> None:
    job = await rig.submit()
    key = await rig.post("/v1/keys", {"name": "anna", "role": "submitter", "tenant": "acme"}, status=201)
    anna = {"x-api-key": key["secret"]}
    theirs = await rig.post("/v1/jobs", {"scenario": "720p30-h264"}, status=201, headers=anna)
    await rig.post(f"/v1/jobs/{theirs['number']}/cancel", headers=anna)
    await rig.post(f"/v1/jobs/{job['id']}/cancel", headers=anna, status=404)
    node = await rig.register()
    await node.claim()
    await rig.post(f"/v1/nodes/{node.id}/drain")
    await rig.post(f"/v1/keys/{key['key']['id']}/revoke")
    await rig.client.get("/v1/jobs")
    await rig.post("/v1/profiles/check", {"nothing": 1}, status=422)

    entries = await trail(rig)
    assert [told(one, "caller", "role", "method", "route", "status") for one in entries] == [
        ("api", "admin", "POST", "/v1/jobs", 201),
        ("api", "admin", "POST", "/v1/keys", 201),
        ("anna", "submitter", "POST", "/v1/jobs", 201),
        ("anna", "submitter", "POST", "/v1/jobs/{ref}/cancel", 200),
        ("anna", "submitter", "POST", "/v1/jobs/{ref}/cancel", 404),
        ("api", "admin", "POST", "/v1/nodes", 200),
        ("api", "admin", "POST", "/v1/nodes/{ref}/drain", 200),
        ("api", "admin", "POST", "/v1/keys/{ref}/revoke", 200),
    ]
    made, new_key, _, canceled, refused, registered, drained, revoked = entries
    assert registered["after"] == {"node": node.id, "epoch": 1}
    assert made["after"] == {"job": job["id"], "number": job["number"], "profile": job["profile"], "tenant": "default"}
    assert new_key["after"] == {
        "key": key["key"]["id"], "name": "anna", "role": "submitter", "tenant": "acme", "expires": None,
    }  # fmt: skip
    assert told(canceled, "key", "tenant", "path") == (
        key["key"]["id"], "acme", f"/v1/jobs/{theirs['number']}/cancel",
    )  # fmt: skip
    assert (canceled["before"]["state"], canceled["after"]["state"]) == ("queued", "canceled")
    assert told(refused, "before", "after") == (None, None), "not even its state, for it is another's"
    assert "there is no job" in refused["detail"]
    assert (drained["before"]["state"], drained["after"]["state"]) == ("ready", "draining")
    assert revoked["before"]["revoked"] is None
    assert revoked["after"]["revoked"]
    assert len({one["request_id"] for one in entries}) == len(entries)
    assert key["secret"] not in json.dumps(entries)
    assert KEY not in json.dumps(entries)


@on_master
async def test_entries_are_found_by_caller_path_and_time_and_come_in_pages(rig: Rig) -> None:
    for _ in range(5):
        await asyncio.gather(*(rig.submit() for _ in range(3)))
    key = await rig.post("/v1/keys", {"name": "ci", "role": "submitter"}, status=201)
    await rig.post("/v1/jobs", {"scenario": "720p30-h264"}, status=201, headers={"x-api-key": key["secret"]})
    assert [one["path"] for one in await trail(rig, path="/v1/keys")] == ["/v1/keys"]
    assert [one["path"] for one in await trail(rig, caller="ci")] == ["/v1/jobs"]
    assert await trail(rig, since="2099-01-01T00:00:00Z") == []
    assert len(await trail(rig, since="2020-01-01")) == 17
    whole = await trail(rig)
    paged: list[Any] = []
    query: dict[str, object] = {"limit": 4}
    while True:
        page = (await rig.client.get("/v1/audit", params=query)).json()
        paged += page["entries"]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert list(reversed(paged)) == whole
    for wrong in ({"since": "yesterday"}, {"cursor": "x"}, {"cursor": "1-x"}, {"limit": 0}, {"who": "me"}):
        assert (await rig.client.get("/v1/audit", params=wrong)).status_code == 400


@on_master
async def test_the_chain_that_the_api_gives_holds_and_has_all_entries(rig: Rig) -> None:
    for _ in range(3):
        await asyncio.gather(*(rig.submit() for _ in range(4)))
        assert await trail(rig)
    after, blocks = 0, []
    while True:
        reply = (await rig.client.get("/v1/audit/chain", params={"after": after, "limit": 2})).json()
        if not reply["blocks"]:
            break
        blocks += [_block(one) for one in reply["blocks"]]
        after = blocks[-1].number
    check = Check(Head(number=reply["number"], seal=_bytes(reply["seal"]), oldest=reply["oldest"]))
    assert check.take(blocks) is None
    assert check.end() is None
    assert sum(len(unpack(block.body)) for block in blocks) == 12


@on_master
async def test_strangers_are_written_down_and_cannot_flood_the_trail(rig: Rig) -> None:
    for _ in range(2 * audit.STRANGERS_A_MINUTE + 10):
        assert (await rig.client.get("/v1/jobs", headers={"x-api-key": "guessed-it"})).status_code == 401
    assert (await rig.client.post("/v1/jobs", headers={"x-api-key": "guessed-it"}, json={})).status_code == 401
    await rig.submit()
    entries = await trail(rig)
    *strangers, last = entries
    assert {told(one, "caller", "role", "status") for one in strangers} == {("", "", 401)}
    assert audit.STRANGERS_A_MINUTE <= len(strangers) <= 2 * audit.STRANGERS_A_MINUTE, "a minute may have ended"
    assert last["left_out"]
    assert len(strangers) + sum(one["left_out"] for one in entries) == 2 * audit.STRANGERS_A_MINUTE + 11
    assert "guessed-it" not in json.dumps(entries)


@on_master
async def test_a_secret_in_what_was_asked_is_not_kept(rig: Rig) -> None:
    await rig.post("/v1/jobs/token=abcdef123/cancel", status=404)
    body = {"input": "https://user:hunter22@example.org/a.mp4?sig=secret22", "profile": "nobody-knows-it"}
    await rig.post("/v1/jobs", body, status=422)
    text = json.dumps(await trail(rig))
    for secret in ("hunter22", "secret22", "abcdef123"):
        assert secret not in text


def test_no_answer_tells_of_a_change_before_its_entry_is_kept(tmp_path: Path) -> None:
    async def work() -> None:
        async with listening(tmp_path) as rig:
            job = await rig.submit()
            await trail(rig)
            store: Any = rig.farm.store
            held, add = asyncio.Event(), store.add_audit
            asked = asyncio.Event()

            async def slow(block_id: bytes, body: bytes) -> None:
                asked.set()
                await held.wait()
                await add(block_id, body)

            store.add_audit = slow
            answer = asyncio.create_task(rig.post(f"/v1/jobs/{job['id']}/cancel"))
            await asked.wait()
            # The job is canceled, and whoever asked for it has not heard so.
            assert (await rig.client.get(f"/v1/jobs/{job['id']}")).json()["state"] == "canceled"
            assert not answer.done()
            held.set()
            await answer
            assert len(await trail(rig)) == 2

    asyncio.run(asyncio.wait_for(work(), 60))


@on_server
async def test_a_store_that_does_not_take_entries_holds_up_nobody(rig: Rig) -> None:
    store: Any = rig.farm.store
    add = store.add_audit

    async def refuse(_: bytes, __: bytes) -> None:
        raise StoreUnavailableError("gone")

    store.add_audit = refuse
    for _ in range(3):
        await rig.submit()
    assert await trail(rig) == []
    store.add_audit = add
    while len(await trail(rig)) < 3:
        await asyncio.sleep(0)  # one turn of the loop, no waiting


@pytest.mark.parametrize("role", ["viewer", "submitter", "operator", "worker"])
@on_master
async def test_only_admins_read_it(rig: Rig, role: str) -> None:
    key = await rig.post("/v1/keys", {"name": "k", "role": role}, status=201)
    for path in ("/v1/audit", "/v1/audit/chain"):
        assert (await rig.client.get(path, headers={"x-api-key": key["secret"]})).status_code == 403
    assert [told(one, "caller", "status", "path") for one in await trail(rig, caller="k")] == [
        ("k", 403, "/v1/audit"), ("k", 403, "/v1/audit/chain"),
    ]  # fmt: skip


def _bytes(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


def _block(one: dict[str, Any]) -> Block:
    raw = {name: _bytes(one[name]) for name in ("id", "body", "before", "seal")}
    return Block(number=one["number"], at_ms=one["at_ms"], **raw)
