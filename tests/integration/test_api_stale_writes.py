"""Every route by which a worker writes, or reads what only a holder may, under an attempt or an epoch that is over: 409, and nothing is changed."""

from collections.abc import Mapping
from typing import Any

from api_serving import ENCODERS, Node, Rig, on_master

from millrace.api.table import TABLE
from millrace.edge.route import Access

SKILL = {"engine": "ffmpeg", "encoders": ["libx264"]}
BY_BODY: Mapping[str, Mapping[str, Any]] = {
    "POST /v1/tasks/{task}/start": {},
    "POST /v1/tasks/{task}/complete": {},
    "POST /v1/tasks/{task}/fail": {"class": "input", "message": "it is empty"},
    "POST /v1/tasks/{task}/hand-back": {"reason": "there is no room"},
    "POST /v1/tasks/{task}/helpers": SKILL,
    "POST /v1/tasks/{task}/split": {**SKILL, "parts": [{"kind": "chunk"}], "plan": {}},
    "POST /v1/tasks/{task}/stored": {"files": []},
}
BY_QUERY = (
    "GET /v1/tasks/{task}/parts",
    "GET /v1/tasks/{task}/place",
    "GET /v1/tasks/{task}/pieces/{position}/{name*}",
    "GET /v1/tasks/{task}/cache/{key}",
    "PUT /v1/tasks/{task}/cache/{key}",
    "PUT /v1/tasks/{task}/outputs/{name*}",
)
BY_EPOCH: Mapping[str, Mapping[str, Any]] = {
    "POST /v1/nodes/{ref}/claim": {"request": "request-late", "limit": 1, "wait_s": 0},
    "POST /v1/nodes/{ref}/heartbeat": {},
    "POST /v1/nodes/{ref}/proof": {"encoders": {}},
}
FREE = {
    "POST /v1/nodes",  # it begins an epoch
    "POST /v1/nodes/{ref}/certificate",  # of the machine, whatever it works on
    "POST /v1/tasks/{task}/log",  # the last lines of an attempt come after its end, into its own log: `test_api_work`
}


def test_no_route_of_workers_is_left_out() -> None:
    routes = {f"{one.method} {one.path}" for one in TABLE if one.access is Access.WORK and not one.alias}
    assert routes == {*BY_BODY, *BY_QUERY, *BY_EPOCH, *FREE}


async def _reborn(rig: Rig) -> Node:
    """The same machine after a restart of its worker."""
    known = {
        "fingerprint": f"print-{b'one'.hex()}",
        "name": "one",
        "slots": 4,
        "engines": ["ffmpeg"],
        "encoders": ENCODERS,
    }
    reply = await rig.post("/v1/nodes", {**known, "boot_id": "boot-0002"})
    return Node(rig, reply["node"], reply["epoch"])


@on_master
async def test_what_is_over_changes_nothing_and_gets_409(rig: Rig) -> None:
    job = await rig.submit()
    (task,) = await (await rig.register()).claim()
    node = await _reborn(rig)
    (again,) = await node.claim()
    assert (task["task"], task["attempt"], again["attempt"], node.epoch) == (again["task"], 1, 2, 2)
    before = await rig.get(f"/v1/jobs/{job['id']}"), await rig.get(f"/v1/nodes/{node.id}")
    path = {"{task}": task["task"], "{ref}": node.id, "{key}": "a" * 64, "{name*}": "video.mp4", "{position}": "2"}

    async def refused(route: str, of: str, **request: Any) -> None:
        method, where = route.split(" ")
        for name, value in path.items():
            where = where.replace(name, value)
        response = await rig.call(method, where, **request)
        assert (response.status_code, response.json()["type"]) == (409, f"urn:millrace:problem:stale-{of}"), route

    for route, body in BY_BODY.items():
        await refused(route, "attempt", json={"node": node.id, "attempt": 1, **body})
    for route in BY_QUERY:
        content = {"content": b"bytes"} if route.startswith("PUT") else {}
        await refused(route, "attempt", params={"node": node.id, "attempt": "1"}, **content)
    for route, body in BY_EPOCH.items():
        await refused(route, "epoch", json={"epoch": 1, **body})
    now = await rig.get(f"/v1/jobs/{job['id']}"), await rig.get(f"/v1/nodes/{node.id}")
    assert now == before
