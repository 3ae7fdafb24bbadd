"""Every route for everybody, about what is one's own, another tenant's, and what never was. The matrix is in `matrix.py`."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
from api_serving import KEY, Node, Rig, on_master, serving
from control_rig import Rig as ControlRig
from control_rig import play
from strangers.matrix import CONTROL, FARM, NOTHING, OTHERS, OWN, Ask, Entry, Things, Who, expected
from test_api_enrolment import Machine, joined
from test_api_keys import key
from test_control_access import door

from millrace.api import openapi
from millrace.api.table import TABLE
from millrace.domain.roles import OF_TENANTS, Role
from millrace.edge.access import GRANTS, Rules, grants
from millrace.edge.keys import Key, Keys
from millrace.edge.route import Access, Body, Route
from millrace.supervisor.control import description
from millrace.supervisor.control.table import TABLE as CONTROL_TABLE
from millrace.web.pages import routes

PAGES = routes(Keys([Key(secret="of no server")], now_s=time.time))
MINE, THEIRS = "acme", "stranger-inc"


def operations(document: Mapping[str, Any], *beside: Route[Any]) -> dict[str, Access]:
    """Each operation of an OpenAPI document with its access rule, and the routes that are not described."""
    described = {
        f"{method.upper()} {path}": Access(operation["x-access"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    return described | {f"{one.method} {one.path.replace('*}', '}')}": one.access for one in beside}


OF_FARM = operations(openapi.describe("1"), *(one for one in TABLE if one.alias), *PAGES)
OF_CONTROL = operations(json.loads(description.document("1")))


def test_every_operation_has_a_rule_and_a_row_in_the_matrix() -> None:
    assert set(OF_FARM) == set(FARM)
    assert set(OF_CONTROL) == set(CONTROL)
    assert len(OF_FARM) == len((*TABLE, *PAGES))
    assert len(OF_CONTROL) == len(CONTROL_TABLE)


def test_what_is_open_to_everybody_is_little_and_reading_changes_nothing() -> None:
    assert sorted(name for name, access in OF_FARM.items() if access is Access.OPEN) == [
        "GET /assets/{name}", "GET /health", "GET /login", "GET /ready", "GET /v1/authority", "POST /login", "POST /logout",
        "POST /v1/join",
    ]  # fmt: skip
    assert [name for name, access in OF_CONTROL.items() if access is Access.OPEN] == ["GET /v1/health"]
    looks = (Access.READ, Access.INSPECT, Access.FETCH)
    assert [name for name, access in (OF_FARM | OF_CONTROL).items() if access in looks and name[:4] != "GET "] == [
        "POST /v1/profiles/check"
    ]
    assert all((one.request is not None) == (one.body in (Body.JSON, Body.OPTIONAL_JSON)) for one in TABLE)


# Who asks ---------------------------------------------------------------------------------------------------------------

STRANGERS: list[dict[str, str]] = [
    {},
    {"x-api-key": "wrong-key"},
    {"x-api-key": KEY + "x"},
    {"x-api-key": KEY[:-1]},
    {"x-api-key": KEY.upper()},
    {"authorization": "Bearer wrong"},
    {"authorization": f"Basic {KEY}"},
    {"authorization": "Bearer"},
    {"authorization": f"Bearer {KEY} {KEY}"},
    {"cookie": "millrace_session=99999999999.00"},
    {"cookie": f"millrace_session={KEY}"},
    {"x-forwarded-user": "admin", "x-forwarded-for": "127.0.0.1"},
    {"x-api-key": "\xff"},
]


class Stage(Things):
    """Things of one tenant; those of a machine are held by its own node, and nodes are those of who registers them."""

    def __init__(
        self,
        rig: Rig,
        tenant: str,
        machine: Machine | None = None,
        *,
        by_number: bool = False,
        worker: dict[str, str] | None = None,
    ) -> None:
        self._rig = rig
        self._tenant = tenant
        self._machine = machine
        self._by_number = by_number
        self._worker = worker
        self._made = 0

    async def job(self, *verbs: str) -> str:
        made = await self._rig.submit(tenant=self._tenant)
        for verb in verbs:
            await self._rig.post(f"/v1/jobs/{made['id']}/{verb}")
        return str(made["number"] if self._by_number else made["id"])

    async def done(self) -> str:
        made = await self._rig.submit(tenant=self._tenant, queue="live", priority="high")
        node = await self._register()
        (task,) = await node.claim()
        assert task["job"] == made["id"]
        path = f"/v1/tasks/{task['task']}/outputs/video.mp4?node={node.id}&attempt=1"
        stored = (await self._rig.call("PUT", path, content=b"a film")).json()
        await node.report("start", task)
        output = {"name": "video.mp4", "location": stored["url"], "size": 6, "sha256": stored["sha256"]}
        await node.report("complete", task, outputs=[output])
        return str(made["number"] if self._by_number else made["id"])

    async def _register(self) -> Node:
        self._made += 1
        return await self._rig.register(f"node-{id(self)}-{self._made}")

    async def node(self) -> str:
        if self._machine is not None:
            return self._machine.node.id
        return (await self._registered()).id

    async def _registered(self) -> Node:
        """A node of the worker that asks, where one does."""
        if self._worker is None:
            return await self._register()
        self._made += 1
        name = f"node-{id(self)}-{self._made}"
        body = {"fingerprint": f"print-{name}", "boot_id": "boot-0001", "name": name, "slots": 4, "engines": ["ffmpeg"],
                "encoders": {"libx264": "", "aac": ""}}  # fmt: skip
        reply = await self._rig.post("/v1/nodes", body, headers=self._worker)
        return Node(self._rig, reply["node"], reply["epoch"])

    async def held(self) -> Mapping[str, str]:
        await self.job()
        node = self._machine.node if self._machine is not None else await self._registered()
        shown = self._machine.headers if self._machine is not None else self._worker
        headers = {} if shown is None else {"headers": shown}
        body = {"epoch": node.epoch, "request": f"request-{time.monotonic_ns()}"}
        (task,) = (await self._rig.post(f"/v1/nodes/{node.id}/claim", body, **headers))["tasks"]
        return {"task": task["task"], "node": node.id, "attempt": str(task["attempt"])}

    async def upload(self, *, whole: bool = False) -> str:
        owner = await key(self._rig, f"owner-{time.monotonic_ns()}", "submitter", tenant=self._tenant)
        made = (await self._rig.call("POST", "/v1/uploads", json={"name": "a", "size": 3}, headers=owner)).json()["id"]
        if whole:
            piece = {"content-type": "application/offset+octet-stream", "upload-offset": "0"}
            sent = await self._rig.call("PATCH", f"/v1/uploads/{made}", content=b"abc", headers=owner | piece)
            assert sent.status_code == 200
        return str(made)

    async def key(self) -> str:
        name = f"key-{time.monotonic_ns()}"
        await self._rig.post("/v1/keys", {"name": name, "role": "viewer"}, status=201)
        return name

    async def webhook(self) -> str:
        for one in (await self._rig.get("/v1/webhooks"))["webhooks"]:
            await self._rig.call("DELETE", f"/v1/webhooks/{one['id']}")
        body = {"url": "https://1.1.1.1/hook", "tenant": self._tenant}
        return str((await self._rig.post("/v1/webhooks", body, status=201))["webhook"]["id"])

    async def batch(self) -> str:
        body = {"jobs": [{"scenario": "720p30-h264"}], "tenant": self._tenant}
        return str((await self._rig.post("/v1/batches", body, status=201))["id"])

    async def schedule(self) -> str:
        for one in (await self._rig.get("/v1/schedules"))["schedules"]:
            await self._rig.call("DELETE", f"/v1/schedules/{one['id']}")
        job = {"scenario": "720p30-h264", "tenant": self._tenant}
        body = {"name": f"schedule-{time.monotonic_ns()}", "cron": "0 3 1 1 *", "job": job}
        return str((await self._rig.post("/v1/schedules", body, status=201))["id"])

    async def limited(self) -> str:
        assert (await self._rig.call("PATCH", f"/v1/tenants/{self._tenant}", json={})).status_code == 200
        return self._tenant


class Nothing(Things):
    """Names that could be, of what never was."""

    def __init__(self, *, by_number: bool = False) -> None:
        self._by_number = by_number

    async def job(self, *_: str) -> str:
        return "987654321" if self._by_number else "j" + "0" * 32

    async def done(self) -> str:
        return await self.job()

    async def node(self) -> str:
        return "n" + "0" * 32

    async def held(self) -> Mapping[str, str]:
        return {"task": f"{await self.job()}.1", "node": await self.node(), "attempt": "1"}

    async def upload(self, *, whole: bool = False) -> str:
        return "u" + "0" * 32

    async def key(self) -> str:
        return "nobody"

    async def webhook(self) -> str:
        return "w" + "0" * 32

    async def batch(self) -> str:
        return "b" + "0" * 32

    async def schedule(self) -> str:
        return "s" + "0" * 32

    async def limited(self) -> str:
        return f"nobody-{time.monotonic_ns()}"


def fill(path: str, names: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: names[found[1]], path)


async def send(
    call: Callable[..., Any], operation: str, ask: Ask, headers: Mapping[str, str], *, method: str = ""
) -> httpx2.Response:
    own, _, path = operation.partition(" ")
    sent: dict[str, Any] = {} if ask.json is None else {"json": ask.json}
    if ask.content is not None:
        sent["content"] = ask.content
    query = dict(ask.query)
    response: httpx2.Response = await call(
        method or own, fill(path, ask.path), params=query, headers={**ask.headers, **headers}, **sent
    )
    return response


def whose_of(entry: Entry, who: Who) -> list[tuple[str, bool]]:
    """Whose things a caller asks about, and whether by number."""
    if who.grants is None or not entry.names:
        return [(OWN, False)]
    if not who.tenant:
        return [(OWN, False), (NOTHING, False), *([(OTHERS, False)] if who.machine else [])]
    return [(OWN, False), *((one, by_number) for by_number in (False, True) for one in (OTHERS, NOTHING))]


async def everybody(rig: Rig, machine: Machine) -> list[tuple[Who, list[dict[str, str]]]]:
    """Whoever may ask, and what they show: a stranger one after the other of what opens nothing."""
    ended = await key(rig, "expired", "admin", lasts_s=0.001)
    revoked = await key(rig, "revoked", "admin")
    await rig.post("/v1/keys/revoked/revoke")
    # The machine first, for its lease does not last as long as all of this.
    found = [(Who(name="machine", grants=grants(Role.WORKER), machine=True), [machine.headers])]
    found.append((Who(name="stranger"), [*STRANGERS, ended, revoked]))
    found.extend([(Who(name=role, grants=grants(role)), [await key(rig, f"any-{role}", role)]) for role in Role])
    for role in sorted(OF_TENANTS):
        bound = await key(rig, f"bound-{role}", role, tenant=MINE)
        found.append((Who(name=f"{role} of {MINE}", grants=grants(role, MINE), tenant=MINE), [bound]))
    return found


def test_every_route_answers_those_whom_its_rule_lets_in_about_what_is_theirs(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(tmp_path, with_pages=True) as rig:
            await _ask_everything(rig)

    asyncio.run(body())


async def _ask_everything(rig: Rig) -> None:
    machine = await joined(rig, "machine")
    machine.node = await machine.register()
    wrong: list[object] = []
    asked = 0
    for who, credentials in await everybody(rig, machine):
        for operation, access in OF_FARM.items():
            entry = FARM[operation]
            told: dict[tuple[str, bool], tuple[object, ...]] = {}
            for whose, by_number in whose_of(entry, who):
                wanted = expected(access, entry, who, whose)
                ask = await entry.ask(things_for(rig, who, whose, wanted, machine, credentials[0], by_number=by_number))
                for shown in credentials:
                    # A form that another site sent is refused; its test is in test_web_pages.py.
                    origin = {} if operation in ("POST /login", "POST /logout") else {"origin": "http://evil.example"}
                    headers = encoded({"x-api-key": "", **origin, **shown})
                    response = await send(rig.call, operation, ask, headers, method="HEAD" if entry.many else "")
                    asked += 1
                    if response.status_code != wanted:
                        wrong.append((who.name, whose, operation, wanted, response.status_code, response.text[:200]))
                    wrong.extend((operation, response.headers) for _ in loose(response))
                    if operation.startswith("GET ") and not entry.many:
                        head = await send(rig.call, operation, ask, headers, method="HEAD")
                        if (head.status_code, head.content) != (response.status_code, b""):
                            wrong.append((who.name, whose, operation, "HEAD", head.status_code, head.text[:200]))
                told[whose, by_number] = (response.status_code, nameless(response.text, ask), sorted(response.headers))
            # The same answer as for what never was, so that nobody learns that it is.
            wrong.extend(
                (who.name, operation, answer, told[NOTHING, by_number])
                for (whose, by_number), answer in told.items()
                if who.tenant and whose == OTHERS and answer != told[NOTHING, by_number]
            )
    assert wrong == [], "\n".join(map(str, wrong))
    assert asked > 2000


def things_for(
    rig: Rig, who: Who, whose: str, wanted: int, machine: Machine, shown: dict[str, str], *, by_number: bool
) -> Things:
    """What there is to ask about. Nobody who is turned away by his role needs something to be turned away from."""
    if whose == NOTHING or wanted in (401, 403):
        return Nothing(by_number=by_number)
    tenant = who.tenant if whose == OWN and who.tenant else THEIRS
    works = Access.WORK in (who.grants or ()) and not who.machine
    own = machine if who.machine and whose == OWN else None
    return Stage(rig, tenant, own, by_number=by_number, worker=shown if works else None)


def loose(response: httpx2.Response) -> list[str]:
    """What the headers of an answer leave open to a browser."""
    headers, html = response.headers, "text/html" in response.headers.get("content-type", "")
    found = [name for name in headers if name.startswith("access-control-") or name == "server"]
    if headers.get("x-content-type-options") != "nosniff":
        found.append("sniffing")
    if html and "frame-ancestors 'none'" not in headers.get("content-security-policy", ""):
        found.append("framing")
    return found


def encoded(headers: Mapping[str, str]) -> dict[str, bytes]:
    return {name: value.encode("latin-1") for name, value in headers.items()}


def nameless(text: str, ask: Ask) -> str:
    """An answer without the names that were asked about."""
    for name in (*ask.path.values(), *ask.query.values()):
        if name != "video.mp4":
            text = text.replace(name, "")
    return text


METHODS = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method")


@on_master
async def test_no_header_and_no_field_makes_another_method_of_a_request(rig: Rig) -> None:
    made = (await rig.post("/v1/uploads", {"name": "a", "size": 3}, status=201))["id"]
    job = await rig.submit()
    viewer = await key(rig, "viewer", "viewer")
    for name in METHODS:
        for method in ("GET", "HEAD"):
            path = f"/v1/uploads/{made}"
            answer = await rig.call(method, path, params={name: "DELETE"}, headers={**viewer, name: "DELETE"})
            assert answer.status_code == 200
        wrong = await rig.call("POST", f"/v1/jobs/{job['id']}", headers={name: "GET"})
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
    assert (await rig.get(f"/v1/uploads/{made}"))["id"] == made
    for method in ("TRACE", "CONNECT", "OPTIONS", "PROPFIND"):
        assert (await rig.call(method, "/v1/jobs")).status_code == 405


@on_master
async def test_a_cursor_and_a_filter_of_another_tenant_show_nothing_of_it(rig: Rig) -> None:
    mine = await key(rig, "mine", "submitter", tenant=MINE)
    for _ in range(3):
        await rig.submit(tenant=THEIRS)
    page = await rig.get(f"/v1/jobs?tenant={THEIRS}&limit=1")
    assert page["next"] is not None
    events = await rig.farm.store.events(after=None, limit=10)
    for query in (f"cursor={page['next']}", f"tenant={THEIRS}", f"tenant={THEIRS}&cursor={page['next']}", "dead=true"):
        assert (await rig.call("GET", f"/v1/jobs?{query}", headers=mine)).json() == {"jobs": [], "next": None}
    for body in ({"tenant": THEIRS}, {"before": page["next"]}):
        again = await rig.call("POST", "/v1/jobs/retry", json=body, headers=mine)
        assert again.json() == {"retried": [], "next": None}
    # A cursor of the stream is a place in time, which the tenants share; what stands there is not shown.
    follower = await rig.call("HEAD", f"/v1/events?after={events[-1].cursor}", headers=mine)
    assert follower.status_code == 200


# A supervisor -----------------------------------------------------------------------------------------------------------

PLAN = """
global: {control: {changes: admin}}
processes:
  web: {command: [sleep, "1000"]}
  other: {command: [sleep, "1000"]}
  cron: {command: ["true"], schedule: "0 0 1 1 *"}
  held: {command: ["true"], schedule: "0 0 1 1 *"}
"""


class ControlStage(Nothing):
    """Processes of the plan above, in the state in which the matrix asks for them."""

    def __init__(self, rig: ControlRig) -> None:
        super().__init__()
        self._rig = rig

    async def job(self, *_: str) -> str:
        return "web"

    async def done(self) -> str:
        await self._rig.client.post("/v1/processes/other/start?wait=30")
        return "other"

    async def node(self) -> str:
        if (await self._rig.get("/v1/processes/cron/schedule"))["paused"]:
            await self._rig.post("/v1/processes/cron/schedule/resume")
        await self._rig.until("/v1/processes/cron/schedule", lambda one: one["state"] == "idle")
        return "cron"

    async def key(self) -> str:
        if not (await self._rig.get("/v1/processes/held/schedule"))["paused"]:
            await self._rig.post("/v1/processes/held/schedule/pause")
        return "held"


def test_every_route_of_a_supervisor_answers_those_whom_its_rule_lets_in(tmp_path: Path) -> None:
    wrong: list[object] = []

    async def ask(rig: ControlRig, call: Callable[..., Any], who: Who, operation: str, shown: dict[str, str]) -> None:
        access, entry = OF_CONTROL[operation], CONTROL[operation]
        for whose, _ in whose_of(entry, who):
            wanted = expected(access, entry, who, whose)
            ask = await entry.ask(ControlStage(rig) if whose == OWN else Nothing())
            response = await send(call, operation, ask, encoded(shown), method="HEAD" if entry.many else "")
            if response.status_code != wanted:
                wrong.append((who.name, whose, operation, wanted, response.status_code, response.text[:300]))

    async def body(rig: ControlRig) -> None:
        await rig.until("/v1/processes/web", lambda one: one["ready"] == 1)
        rules = [Rules()]
        async with door(rig, rules) as asking:
            for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.WORKER):
                known = Key(secret=KEY, name="it", role=role.value, grants=GRANTS[role])
                rules[0] = Rules(keys=Keys([known], now_s=time.time))
                for operation in CONTROL:
                    for shown in STRANGERS if role is Role.VIEWER else ():
                        await ask(rig, asking.request, Who(name="stranger"), operation, {"x-api-key": "", **shown})
                    if (operation, role) != ("POST /v1/shutdown", Role.ADMIN):  # which would end it all
                        who = Who(name=role, grants=GRANTS[role])
                        await ask(rig, asking.request, who, operation, {"x-api-key": KEY})

    play(tmp_path, body, PLAN)
    assert wrong == [], "\n".join(map(str, wrong))
