"""Who may do what: every route for every role, and for a tenant nothing of what belongs to another."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_serving import KEY, Rig, on_master, on_pages, on_server, serving

from millrace.api.table import TABLE
from millrace.domain.keys import spell
from millrace.domain.roles import OF_TENANTS, Role
from millrace.edge import known_keys
from millrace.edge.access import grants
from millrace.edge.keys import Key, Keys
from millrace.edge.route import Access, Body, Route
from millrace.store.store import StoreUnavailableError
from millrace.web.pages import routes

PAGES = routes(Keys([Key(secret="of no server")], now_s=time.time))
ROUTES: tuple[Route[Any], ...] = (*TABLE, *PAGES)
LOOKED_UP_BY = frozenset({"ref", "id"})
"""Names in a path that may be another tenant's; `name` comes behind a job."""


async def key(rig: Rig, name: str, role: str, **more: object) -> dict[str, str]:
    """The headers of a new key."""
    made = await rig.post("/v1/keys", {"name": name, "role": role, **more}, status=201)
    return {"x-api-key": made["secret"]}


def test_every_route_is_opened_by_some_role_and_every_word_by_some_route() -> None:
    opened = frozenset[Access]().union(*(grants(role) for role in Role))
    assert [route.path for route in ROUTES if route.access not in opened | {Access.OPEN}] == []
    assert {route.access for route in ROUTES} == {*Access}


def wanted(route: Route[Any]) -> Access:
    """What a route is behind, by what it is about."""
    path, reads = route.path.removeprefix("/v1"), route.method == "GET"
    if path.startswith(("/keys", "/audit")) or (path.startswith("/tenants") and not (reads and "{" in path)):
        return Access.ADMIN
    if path in ("/health", "/ready", "/join", "/authority"):
        return Access.OPEN
    if (
        path.startswith("/tasks/")
        or path.endswith(("/claim", "/heartbeat", "/proof", "/register", "/next", "/certificate"))
        or path == "/results"
    ):
        return Access.WORK
    if path == "/invitations":
        return Access.OPERATE
    if path == "/masters":
        return Access.INSPECT
    if path.startswith("/nodes"):
        return Access.INSPECT if reads else Access.WORK if path == "/nodes" else Access.OPERATE
    if path.startswith("/webhooks") or (path.startswith(("/jobs", "/uploads", "/batches", "/schedules")) and not reads):
        return Access.SUBMIT
    if path.endswith("/content"):
        return Access.FETCH
    return Access.INSPECT if path == "/metrics" else Access.READ


def test_the_table_of_routes_says_of_each_what_it_is_behind() -> None:
    assert [(one.path, one.access) for one in TABLE] == [(one.path, wanted(one)) for one in TABLE]


def filled(path: str, **names: str) -> str:
    return re.sub(r"\{(\w+)\*?\}", lambda found: names.get(found[1], "nothing"), path)


async def keep_output(rig: Rig, job: Any) -> None:
    node = await rig.register()
    (task,) = await node.claim()
    assert task["job"] == job["id"]
    await node.report("start", task)
    path = f"/v1/tasks/{task['task']}/outputs/video.mp4"
    stored = (await rig.call("PUT", f"{path}?node={node.id}&attempt=1", content=b"a film")).json()
    log = f"/v1/tasks/{task['task']}/log?node={node.id}&attempt=1&offset=0"
    assert (await rig.call("POST", log, content=b"a log")).status_code == 200
    output = {"name": "video.mp4", "location": stored["url"], "size": 6, "sha256": stored["sha256"]}
    await node.report("complete", task, outputs=[output])


@on_pages
async def test_of_another_tenant_there_is_nothing(rig: Rig) -> None:
    own = await key(rig, "own", "submitter", tenant="acme")
    stranger = await key(rig, "other", "submitter", tenant="other")
    job = (await rig.call("POST", "/v1/jobs", json={"scenario": "720p30-h264"}, headers=own)).json()
    assert job["tenant"] == "acme"
    await keep_output(rig, job)
    upload = (await rig.call("POST", "/v1/uploads", json={"name": "a", "size": 3}, headers=own)).json()["id"]
    piece = {"content-type": "application/offset+octet-stream", "upload-offset": "0"}
    path = f"/v1/uploads/{upload}"
    assert (await rig.call("PATCH", path, content=b"abc", headers=own | piece)).status_code == 200
    nothing = {"j": "j" + "0" * 32, "u": "u" + "0" * 32, "#": "4711"}
    checked = 0
    for route in ROUTES:
        names = LOOKED_UP_BY & {*re.findall(r"\{(\w+)", route.path)}
        if not names or route.access not in grants(Role.SUBMITTER, "other"):
            continue
        there = (
            ((upload, nothing["u"]),) if "uploads" in route.path else ((job["id"], nothing["j"]), ("1", nothing["#"]))
        )
        for real, unreal in there:
            answers = []
            for ref in (real, unreal):
                sent: dict[str, Any] = {"content": b"xyz"} if route.body is Body.RAW else {}
                headers = stranger | (piece if route.body is Body.RAW else {})
                url = filled(route.path, ref=ref, id=ref, name="video.mp4")
                response = await rig.call(route.method, url, headers=headers, **sent)
                text = re.sub(rf"\b({real}|{unreal})\b", "", response.text)
                answers.append((response.status_code, text, {*response.headers}))
            # The same answer as for what never was, so that nobody learns that it is.
            assert answers[0] == answers[1], (route.method, route.path)
            assert answers[0][0] == 404, (route.method, route.path)
            checked += 1
    assert checked >= 25
    # All of it is there for whoever it belongs to, and unchanged.
    assert (await rig.call("GET", f"/v1/jobs/{job['id']}/outputs/video.mp4", headers=own)).content == b"a film"
    assert (await rig.call("GET", "/v1/jobs/1/logs", headers=own)).text == "a log"
    assert (await rig.call("GET", f"{path}/content", headers=own)).content == b"abc"
    assert (await rig.call("GET", "/v1/jobs/1", headers=own)).json()["state"] == "completed"


@on_master
async def test_lists_and_filters_hold_a_tenants_own_jobs_only(rig: Rig) -> None:
    keys = {tenant: await key(rig, tenant, "submitter", tenant=tenant) for tenant in ("acme", "other")}
    for tenant in ("acme", "other", "acme"):
        await rig.call("POST", "/v1/jobs", json={"scenario": "720p30-h264"}, headers=keys[tenant])
    await rig.submit()

    async def numbers(query: str, tenant: str) -> list[int]:
        page = (await rig.call("GET", f"/v1/jobs{query}", headers=keys[tenant])).json()
        return [job["number"] for job in page["jobs"]]

    assert await numbers("", "acme") == await numbers("?tenant=acme", "acme") == [3, 1]
    assert await numbers("?tenant=other", "acme") == await numbers("?tenant=default", "acme") == []
    assert await numbers("?limit=1", "acme") == [3]
    assert await numbers("?cursor=3", "acme") == [1]
    assert await numbers("", "other") == [2]
    assert [job["number"] for job in (await rig.get("/v1/jobs"))["jobs"]] == [4, 3, 2, 1]
    assert (await rig.call("GET", "/jobs", headers=keys["acme"])).json()["count"] == 2


@on_master
async def test_a_tenants_job_is_that_tenants_whatever_it_says(rig: Rig) -> None:
    acme = await key(rig, "acme", "submitter", tenant="acme")
    foreign = await rig.call("POST", "/v1/jobs", json={"scenario": "720p30-h264", "tenant": "other"}, headers=acme)
    assert (foreign.status_code, foreign.json()["errors"][0]["field"]) == (422, "tenant")
    for path in ("/v1/jobs", "/jobs"):
        for said in ({}, {"tenant": "acme"}):
            made = await rig.call("POST", path, json={"scenario": "720p30-h264", **said}, headers=acme)
            assert (made.status_code, made.json()["tenant"]) == (201, "acme")
    # An idempotency key of another tenant is another key.
    other = await key(rig, "other", "submitter", tenant="other")
    once = {"idempotency-key": "film-42"}
    made = [
        (await rig.call("POST", "/v1/jobs", json={"scenario": "720p30-h264"}, headers=who | once)).json()["id"]
        for who in (acme, other, acme)
    ]
    assert made[0] == made[2] != made[1]
    # Nor can an upload of another tenant be made one's own.
    upload = (await rig.call("POST", "/v1/uploads", json={"name": "a", "size": 0}, headers=acme)).json()["id"]
    job = {"scenario": "720p30-h264", "input": f"upload://{upload}"}
    assert (await rig.call("POST", "/v1/jobs", json=job, headers=acme)).status_code == 201
    assert (await rig.call("POST", "/v1/jobs", json=job, headers=other)).status_code == 422


async def transitions(response: httpx2.Response, count: int) -> list[int]:
    found = []
    async for line in response.aiter_lines():
        found += [int(number) for number in re.findall(r'^data: .*"number":(\d+)', line)]
        if len(found) == count:
            break
    return found


@on_server
async def test_the_stream_of_a_tenant_has_its_own_transitions_however_busy_the_others_are(rig: Rig) -> None:
    acme = await key(rig, "acme", "submitter", tenant="acme")
    mine = {"scenario": "720p30-h264", "tenant": "acme"}
    await rig.submit()
    await rig.post("/v1/jobs", mine, status=201)
    async with rig.client.stream("GET", "/v1/events?after=beginning", headers=acme) as response:
        assert await transitions(response, 1) == [2]
    async with rig.client.stream("GET", "/v1/events", headers=acme) as response:
        for _ in range(3):
            await rig.submit()
        await rig.post("/v1/jobs", mine, status=201)
        await rig.post("/v1/jobs", mine, status=201)
        assert await transitions(response, 2) == [6, 7]


@on_server
async def test_a_revoked_key_opens_nothing_at_once_and_its_streams_and_claims_end(rig: Rig) -> None:
    viewer, worker = await key(rig, "viewer", "viewer"), await key(rig, "worker", "worker")
    node = await rig.register(headers=worker)
    claim = {"epoch": node.epoch, "request": "request-1", "limit": 1, "wait_s": 20}
    async with rig.client.stream("GET", "/v1/events", headers=viewer) as response:
        lines = response.aiter_lines()
        await anext(lines)
        parked = asyncio.create_task(rig.call("POST", f"/v1/nodes/{node.id}/claim", json=claim, headers=worker))
        while not rig.farm.waiting:
            await asyncio.sleep(0)
        await rig.post("/v1/keys/viewer/revoke")
        async for _ in lines:
            pass  # to its end
    assert not parked.done()
    await rig.post("/v1/keys/worker/revoke")
    assert (await parked).json()["tasks"] == []
    for headers in (viewer, worker):
        assert (await rig.call("GET", "/v1/jobs", headers=headers)).status_code == 401


def test_what_another_master_revoked_is_heard_of_when_the_answer_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with serving(tmp_path) as rig:
            headers = await key(rig, "viewer", "viewer")
            assert (await rig.call("GET", "/v1/jobs", headers=headers)).status_code == 200
            (found,) = await rig.farm.store.keys(ended=False)
            await rig.farm.store.revoke_key(found.id)  # as another master does it
            assert (await rig.call("GET", "/v1/jobs", headers=headers)).status_code == 200
            stored = rig.app.master.keys._stored
            assert stored is not None
            now_s = time.monotonic() + known_keys.GOOD_FOR_S
            monkeypatch.setattr(stored, "_monotonic_s", lambda: now_s)
            assert (await rig.call("GET", "/v1/jobs", headers=headers)).status_code == 401

    asyncio.run(body())


@on_server
async def test_a_stream_that_was_asked_with_the_secret_before_ends_with_it(rig: Rig) -> None:
    viewer = await key(rig, "viewer", "viewer")
    async with rig.client.stream("GET", "/v1/events", headers=viewer) as response:
        lines = response.aiter_lines()
        await anext(lines)
        changed = await rig.post("/v1/keys/viewer/rotate")
        async for _ in lines:
            pass
    assert (await rig.call("GET", "/v1/jobs", headers=viewer)).status_code == 401
    assert (await rig.call("GET", "/v1/jobs", headers={"x-api-key": changed["secret"]})).status_code == 200
    again = await rig.post("/v1/keys/viewer/rotate", {"grace_s": 60})
    assert again["key"]["old_until"] is not None
    for secret in (changed["secret"], again["secret"]):
        assert (await rig.call("GET", "/v1/jobs", headers={"x-api-key": secret})).status_code == 200


@on_master
async def test_no_secret_is_shown_twice_or_kept(rig: Rig) -> None:
    made = await rig.post("/v1/keys", {"name": "ci", "role": "viewer", "lasts_s": 60}, status=201)
    assert set(made) == {"secret", "key"}
    listed = await rig.get("/v1/keys")
    assert listed["keys"] == [made["key"]]
    revoked = await rig.post("/v1/keys/ci/revoke")
    for text in (str(listed), str(revoked), str(made["key"])):
        assert made["secret"] not in text
    assert (await rig.get("/v1/keys"))["keys"] == []
    assert [one["name"] for one in (await rig.get("/v1/keys?ended=true"))["keys"]] == ["ci"]


@on_master
async def test_bad_requests_for_keys_say_what_is_wrong_and_make_none(rig: Rig) -> None:
    await rig.post("/v1/keys", {"name": "ci", "role": "viewer"}, status=201)
    for body, status, words in (
        ({"name": "ci", "role": "viewer"}, 409, "another one is called ci"),
        ({"name": "api", "role": "viewer"}, 422, "name: "),
        ({"name": "k" + "0" * 32, "role": "viewer"}, 422, "name: "),
        ({"name": "a b", "role": "viewer"}, 400, "name: "),
        ({"name": "", "role": "viewer"}, 400, "name: "),
        ({"name": "x"}, 400, "role: is missing"),
        ({"name": "x", "role": "root"}, 400, "role: "),
        ({"name": "x", "role": "viewer", "lasts_s": 0}, 400, "lasts_s: "),
        ({"name": "x", "role": "viewer", "lasts_s": 1e12}, 400, "lasts_s: "),
        ({"name": "x", "role": "viewer", "tenant": "a b"}, 400, "tenant: "),
        ({"name": "x", "role": "viewer", "grants": ["admin"]}, 400, "grants: "),
        *(({"name": "x", "role": role, "tenant": "acme"}, 422, "tenant: ") for role in set(Role) - OF_TENANTS),
    ):
        response = await rig.call("POST", "/v1/keys", json=body)
        assert (response.status_code, words in response.json()["detail"]) == (status, True), response.text
    for verb in ("rotate", "revoke"):
        assert (await rig.call("POST", f"/v1/keys/nobody/{verb}")).status_code == 404
        # The key that the master was started with is the way in that nobody can close.
        last = await rig.call("POST", f"/v1/keys/api/{verb}")
        assert (last.status_code, "last way in" in last.json()["detail"]) == (409, True)
    assert (await rig.call("GET", "/v1/keys", headers={"x-api-key": KEY})).status_code == 200
    assert len((await rig.get("/v1/keys?ended=true"))["keys"]) == 1


class Away:
    """A store whose keys cannot be read."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def live_key(self, _: object) -> None:
        raise StoreUnavailableError("cannot reach PostgreSQL")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_while_the_store_is_away_nobody_is_called_a_stranger(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(tmp_path, wrap=Away) as rig:
            whole = {"x-api-key": spell(bytes(32))}
            response = await rig.call("GET", "/v1/jobs", headers=whole)
            assert (response.status_code, "retry-after" in response.headers) == (503, True)
            typo = {"x-api-key": spell(bytes(32))[:-1]}
            assert (await rig.call("GET", "/v1/jobs", headers=typo)).status_code == 401
            assert (await rig.call("GET", "/v1/jobs")).status_code == 200  # the first key is known without it

    asyncio.run(body())


@on_master
async def test_a_tenants_view_of_the_store_has_nothing_but_what_it_must(rig: Rig) -> None:
    from millrace.scheduler.tenancy import within
    from millrace.store.store import Store

    view = within(rig.farm, "acme").store
    verbs = {name for name in vars(Store) if not name.startswith("_")}
    seen = {name for name in verbs if hasattr(view, name)}
    assert verbs - seen >= {"claim", "register", "nodes", "count_jobs", "keys", "key", "revoke_key", "delete_finished"}
    assert seen == {
        "now", "ping", "class_of", "add_jobs", "job", "jobs", "tasks", "task", "standings", "attempts", "outputs", "facts",
        "transitions", "events", "last_cursor", "move", "read_log",
        "masters_behind",  # a number, by which a job may be accepted before its upload
    }  # fmt: skip


@on_master
async def test_a_tenants_view_of_the_store_changes_nothing_of_others(rig: Rig) -> None:
    """No verb asks for this; one that is new and does is a fault, and not a way."""
    from types import SimpleNamespace

    from millrace.domain.tenants import Rules
    from millrace.scheduler.tenancy import within

    store = rig.farm.store
    view: Any = within(rig.farm, "acme").store
    theirs = SimpleNamespace(tenant="other")
    for name, arguments, options in (
        ("add_jobs", ([theirs],), {}),
        ("add_webhook", (theirs,), {}),
        ("add_upload", ("u1", "other", 1), {}),
        ("set_tenant", ("other", Rules()), {"by_default": True}),
        ("set_tenant", ("acme", Rules()), {}),
    ):
        with pytest.raises(AssertionError):
            await getattr(view, name)(*arguments, **options)
    assert await store.tenants() == []
    await store.set_tenant("other", Rules())
    assert await view.tenant("other") is None
    # Who asks for another's events is not given its own instead.
    await rig.submit(tenant="acme")
    beginning = await store.last_cursor()
    await rig.submit(tenant="acme")
    assert len(await view.events(after=beginning, limit=9)) == 1
    assert await view.events(after=beginning, limit=9, tenant="other") == ()
