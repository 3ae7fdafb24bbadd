"""The auth matrix as data: how each route is asked for something that is there, and what the access rule makes of it. Pure.

An operation of the OpenAPI document without an entry here fails the tests, and so does an entry without an operation.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from millrace.edge.route import Access


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is sent beside method and path: what fills the path's parameters, the query, the body, headers."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Things(Protocol):
    """Makes what a route can be asked about, and gives its name. Another one gives names of what never was."""

    async def job(self, *verbs: str) -> str:
        """A job that waits, after these verbs."""

    async def done(self) -> str:
        """A job that is done, with the output `video.mp4`."""

    async def node(self) -> str:
        """A node."""

    async def held(self) -> Mapping[str, str]:
        """A claimed task: `task`, `node`, `attempt`."""

    async def upload(self, *, whole: bool = False) -> str:
        """An upload of three bytes."""

    async def key(self) -> str:
        """An API key."""

    async def webhook(self) -> str:
        """A webhook."""

    async def batch(self) -> str:
        """A batch of one job."""

    async def schedule(self) -> str:
        """A schedule."""

    async def limited(self) -> str:
        """A tenant of which something was said."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How a route is asked, and what it answers to whom the rule lets in: `good` about what is there, `absent` about what is not.

    `names`: it is asked about something. `machine`: what a machine gets that asks about itself, where that is another answer.
    `many`: its answers are as many as it likes, so that only its head is looked at.
    """

    ask: Callable[[Things], Awaitable[Ask]]
    good: int = 200
    absent: int = 404
    machine: int = 0
    names: bool = True
    many: bool = False


def plain(good: int = 200, *, machine: int = 0, **sent: Any) -> Entry:
    """A route that names nothing."""

    async def ask(_: Things) -> Ask:
        return Ask(**sent)

    return Entry(ask=ask, good=good, machine=machine, names=False)


def about(
    make: Callable[[Things], Awaitable[str]], good: int = 200, absent: int = 404, *, name: str = "ref", **sent: Any
) -> Entry:
    """A route with the name of one thing in its path."""

    async def ask(things: Things) -> Ask:
        return Ask(path={name: await make(things)}, **sent)

    return Entry(ask=ask, good=good, absent=absent)


def report(
    good: int = 200, *, by_query: bool = False, name: str = "", path: Mapping[str, str] | None = None, **sent: Any
) -> Entry:
    """What a worker says of a task that it holds."""

    async def ask(things: Things) -> Ask:
        held = await things.held()
        place = {"task": held["task"], **({"name": name} if name else {}), **(path or {})}
        if by_query:
            more = {key: str(value) for key, value in sent.items() if key != "content"}
            return Ask(path=place, query={"node": held["node"], "attempt": held["attempt"], **more}, content=b"abc")
        return Ask(path=place, json={"node": held["node"], "attempt": int(held["attempt"]), **sent})

    return Entry(ask=ask, good=good)


def after(*verbs: str) -> Callable[[Things], Awaitable[str]]:
    """A job after these verbs."""

    async def make(things: Things) -> str:
        return await things.job(*verbs)

    return make


async def _job(things: Things) -> str:
    return await things.job()


async def _done(things: Things) -> str:
    return await things.done()


async def _node(things: Things) -> str:
    return await things.node()


async def _upload(things: Things) -> str:
    return await things.upload()


async def _whole(things: Things) -> str:
    return await things.upload(whole=True)


async def _key(things: Things) -> str:
    return await things.key()


async def _webhook(things: Things) -> str:
    return await things.webhook()


async def _batch(things: Things) -> str:
    return await things.batch()


async def _schedule(things: Things) -> str:
    return await things.schedule()


async def _new_schedule(things: Things) -> Ask:
    return Ask(json={"name": f"made-{await things.schedule()}"[:64], "cron": "0 3 1 1 *", "job": JOB})


async def _limited(things: Things) -> str:
    return await things.limited()


async def _run(things: Things) -> Ask:
    """A run that is no more."""
    return Ask(path={"name": await things.node(), "number": "999999"})


async def _stream(things: Things) -> Ask:
    return Ask(query={"job": await things.job()})


async def _output(things: Things) -> Ask:
    return Ask(path={"ref": await things.done(), "name": "video.mp4"})


async def _new_key(things: Things) -> Ask:
    return Ask(json={"name": f"made-{await things.key()}"[:64], "role": "viewer"})


async def _new_webhook(things: Things) -> Ask:
    await things.webhook()  # there may be so many of one tenant, so an older one makes room
    return Ask(json={"url": "https://1.1.1.1/hook"})


async def _nothing(_: Things) -> Ask:
    return Ask()


def _of_node(good: int = 200, absent: int = 404, machine: int = 0, **json: Any) -> Entry:
    async def ask(things: Things) -> Ask:
        return Ask(path={"ref": await things.node()}, json=json)

    return Entry(ask=ask, good=good, absent=absent, machine=machine)


def _asked_by_holder(good: int = 200, **path: str) -> Entry:
    async def ask(things: Things) -> Ask:
        held = await things.held()
        return Ask(path={"task": held["task"], **path}, query={"node": held["node"], "attempt": held["attempt"]})

    return Entry(ask=ask, good=good)


JOB = {"scenario": "720p30-h264"}
REGISTRATION = {"fingerprint": "print-of-the-matrix", "boot_id": "boot-0001", "name": "one", "slots": 1}
SKILL = {"engine": "ffmpeg-parts", "encoders": ["libx264"]}
CLAIM = {"epoch": 1, "request": "request-1"}
BEGUN = {"content-type": "application/offset+octet-stream", "upload-offset": "0"}
PROFILE = {"name": "x", "packaging": "mp4", "renditions": [{"video": {"height": 72}}]}
STALE, REFUSED, GONE = 409, 422, 410

FARM: Mapping[str, Entry] = {
    "POST /v1/jobs": plain(201, json=JOB),
    "GET /v1/jobs": plain(),
    "POST /v1/jobs/retry": plain(json={}),
    "GET /v1/jobs/{ref}": about(_job),
    "GET /v1/jobs/{ref}/explain": about(_job),
    "POST /v1/jobs/{ref}/cancel": about(_job),
    "POST /v1/jobs/{ref}/pause": about(_job),
    "POST /v1/jobs/{ref}/resume": about(after("pause")),
    "POST /v1/jobs/{ref}/retry": about(after("cancel")),
    "GET /v1/jobs/{ref}/logs": about(_done),
    "GET /v1/jobs/{ref}/outputs/{name}": Entry(ask=_output),
    "GET /v1/events": Entry(ask=_stream, many=True),
    "POST /v1/batches": plain(201, json={"jobs": [JOB]}),
    "GET /v1/batches": plain(),
    "GET /v1/batches/{id}": about(_batch, name="id"),
    "GET /v1/batches/{id}/jobs": about(_batch, name="id"),
    "POST /v1/batches/{id}/cancel": about(_batch, name="id"),
    "POST /v1/batches/{id}/retry": about(_batch, name="id"),
    "POST /v1/schedules": Entry(ask=_new_schedule, good=201, names=False),
    "GET /v1/schedules": plain(),
    "GET /v1/schedules/{ref}": about(_schedule),
    "DELETE /v1/schedules/{ref}": about(_schedule, 204),
    "POST /v1/schedules/{ref}/pause": about(_schedule),
    "POST /v1/schedules/{ref}/resume": about(_schedule),
    "POST /v1/schedules/{ref}/trigger": about(_schedule),
    "GET /v1/nodes": plain(),
    "GET /v1/nodes/{ref}": about(_node),
    "DELETE /v1/nodes/{ref}": about(_node, 204),
    "POST /v1/nodes/{ref}/drain": about(_node),
    "POST /v1/nodes/{ref}/resume": about(_node),
    "POST /v1/nodes/{ref}/release": about(_node, 409),
    "POST /v1/nodes/{ref}/revoke": about(_node, 409),
    "GET /v1/masters": plain(503),  # the master of these tests knows of no others, and says so
    "POST /v1/nodes": plain(machine=403, json=REGISTRATION),
    "POST /v1/nodes/{ref}/claim": _of_node(absent=STALE, **CLAIM),
    "POST /v1/nodes/{ref}/heartbeat": _of_node(absent=STALE, epoch=1),
    "POST /v1/nodes/{ref}/proof": _of_node(epoch=1, encoders={}),
    "POST /v1/nodes/{ref}/certificate": _of_node(403, 403, machine=200, request="no request"),
    "POST /v1/tasks/{task}/start": report(),
    "POST /v1/tasks/{task}/complete": report(),
    "POST /v1/tasks/{task}/fail": report(**{"class": "input", "message": "it is empty"}),
    "POST /v1/tasks/{task}/hand-back": report(reason="there is no room"),
    "POST /v1/tasks/{task}/helpers": report(**SKILL),
    "POST /v1/tasks/{task}/split": report(
        STALE, **SKILL, parts=[{"kind": "chunk"}], plan={}
    ),  # nobody here makes parts
    "GET /v1/tasks/{task}/parts": _asked_by_holder(),
    "GET /v1/tasks/{task}/pieces/{position}/{name}": _asked_by_holder(404, position="2", name="pieces/a"),
    "GET /v1/tasks/{task}/place": _asked_by_holder(),
    "POST /v1/tasks/{task}/stored": report(files=[]),
    "GET /v1/tasks/{task}/cache/{key}": _asked_by_holder(404, key="a" * 64),
    "PUT /v1/tasks/{task}/cache/{key}": report(by_query=True, path={"key": "b" * 64}),
    "POST /v1/tasks/{task}/log": report(by_query=True, offset=0),
    "PUT /v1/tasks/{task}/outputs/{name}": report(by_query=True, name="video.mp4"),
    "POST /v1/invitations": plain(201),
    "POST /v1/join": plain(REFUSED, json={"token": "mrj_no", "fingerprint": "print-of-nobody", "request": "none"}),
    "GET /v1/authority": plain(404),
    "POST /v1/uploads": plain(201, json={"name": "a", "size": 3}),
    "GET /v1/uploads/{id}": about(_upload, name="id"),
    "PATCH /v1/uploads/{id}": about(_upload, name="id", content=b"abc", headers=BEGUN),
    "GET /v1/uploads/{id}/content": about(_whole, name="id"),
    "DELETE /v1/uploads/{id}": about(_upload, 204, name="id"),
    "POST /v1/keys": Entry(ask=_new_key, good=201, names=False),
    "GET /v1/keys": plain(),
    "POST /v1/keys/{ref}/rotate": about(_key),
    "POST /v1/keys/{ref}/revoke": about(_key),
    "GET /v1/audit": plain(),
    "GET /v1/audit/chain": plain(),
    "POST /v1/webhooks": Entry(ask=_new_webhook, good=201, names=False),
    "GET /v1/webhooks": plain(),
    "DELETE /v1/webhooks/{id}": about(_webhook, 204, name="id"),
    "POST /v1/webhooks/{id}/rotate": about(_webhook, name="id"),
    "GET /v1/webhooks/{id}/deliveries": about(_webhook, name="id"),
    "POST /v1/webhooks/{id}/replay": about(_webhook, name="id"),
    "GET /v1/profiles": plain(),
    "POST /v1/profiles/check": plain(json=PROFILE),
    "GET /v1/profiles/{name}": plain(path={"name": "web-hls"}),
    "GET /health": plain(),
    "GET /ready": plain(),
    "GET /metrics": plain(),
    "GET /v1/openapi.json": plain(),
    "GET /v1/tenants": plain(),
    "GET /v1/tenants/{tenant}": about(_limited, name="tenant"),
    "PATCH /v1/tenants/{tenant}": about(_limited, absent=200, name="tenant", json={}),
    "DELETE /v1/tenants/{tenant}": about(_limited, 204, name="tenant"),
    # The predecessor's paths
    "POST /jobs": plain(201, json=JOB),
    "GET /jobs": plain(),
    "GET /jobs/next": plain(GONE),
    "POST /results": plain(GONE),
    "GET /jobs/{ref}": about(_job),
    "POST /jobs/{ref}/cancel": about(_job),
    "POST /jobs/{ref}/pause": about(_job),
    "POST /jobs/{ref}/resume": about(after("pause")),
    "POST /jobs/{ref}/retry": about(after("cancel")),
    "GET /jobs/{ref}/logs": about(_done),
    "GET /nodes": plain(),
    "POST /nodes/register": plain(201, machine=403, content=b'{"address": "http://one:8080"}'),
    "GET /nodes/{ref}": about(_node),
    "POST /nodes/{ref}/heartbeat": about(_node),
    "DELETE /nodes/{ref}": about(_node),
    # Pages
    "GET /": plain(),
    "GET /ui/overview": plain(),
    "GET /ui/jobs/{ref}": about(_job),
    "GET /ui/jobs/{ref}/part": about(_job),
    "GET /assets/{name}": plain(path={"name": "page.css"}),
    "GET /login": plain(),
    "POST /login": plain(401, content=b"key=nobody"),
    "POST /logout": plain(303),
}


CONTROL: Mapping[str, Entry] = {
    "GET /v1/processes": plain(),
    "GET /v1/processes/{name}": about(_job, name="name"),
    "POST /v1/processes": plain(200, json={"name": "new", "process": {"command": ["true"]}}, query={"dry_run": "true"}),
    "PUT /v1/processes/{name}": about(
        _job, name="name", json={"process": {"command": ["sleep", "1000"]}}, query={"dry_run": "true"}
    ),
    "DELETE /v1/processes/{name}": about(_job, name="name", query={"dry_run": "true"}),
    "GET /v1/processes/{name}/definition": about(_job, name="name"),
    "GET /v1/config": plain(),
    "POST /v1/config/save": plain(),
    "POST /v1/processes/{name}/start": about(_job, 409, name="name"),
    "POST /v1/processes/{name}/stop": about(_done, name="name"),
    "POST /v1/processes/{name}/restart": about(_job, name="name"),
    "POST /v1/processes/{name}/scale": about(_job, name="name", json={"desired": 1}),
    "POST /v1/processes/{name}/signal": about(_job, name="name", json={"signal": "CONT"}),
    "GET /v1/processes/{name}/schedule": about(_node, name="name"),
    "GET /v1/processes/{name}/schedule/history": about(_node, name="name"),
    "POST /v1/processes/{name}/schedule/pause": about(_node, name="name"),
    "POST /v1/processes/{name}/schedule/resume": about(_key, name="name"),
    "POST /v1/processes/{name}/schedule/trigger": about(_node, 202, name="name"),
    "POST /v1/processes/{name}/schedule/runs/{number}/stop": Entry(ask=_run, good=404),
    "GET /v1/runs": plain(),
    "GET /v1/hooks": plain(),
    "GET /v1/plan": plain(),
    "GET /v1/logs": plain(),
    "GET /v1/processes/{name}/logs": about(_job, name="name"),
    "GET /v1/processes/{name}/resources": about(_job, name="name"),
    "GET /v1/resources": plain(),
    "GET /v1/events": Entry(ask=_nothing, names=False, many=True),
    "GET /v1/reload": plain(404),
    "POST /v1/reload": plain(query={"dry_run": "true"}),
    "POST /v1/shutdown": plain(202),
    "GET /v1/audit": plain(),
    "GET /v1/health": plain(),
    "GET /v1/caller": plain(),
    "GET /metrics": plain(),
    "GET /v1/openapi.json": plain(),
}


@dataclass(frozen=True, kw_only=True)
class Who:
    """Somebody who asks. `grants` None: a stranger, whatever is shown. `machine`: its key is good for its own node alone."""

    name: str
    grants: frozenset[Access] | None = None
    tenant: str = ""
    machine: bool = False


OWN, OTHERS, NOTHING = "own", "other tenant's", "no such"


def expected(access: Access, entry: Entry, who: Who, whose: str) -> int:
    """What a request gets by the access rule of its route.

    A stranger does not learn which routes there are; who may not do it does not learn what there is; for a tenant there is
    nothing but its own; a machine that speaks for another one is refused before anybody looks whether there is one.
    """
    if access is not Access.OPEN:
        if who.grants is None:
            return 401
        if access not in who.grants:
            return 403
        if access is Access.WORK and who.machine:
            return (entry.machine or entry.good) if whose == OWN else 403
    if access is Access.FETCH and Access.WORK in (who.grants or ()):
        return entry.absent  # a worker fetches what its tasks are made of, and holds none that is
    there = whose == OWN or (whose == OTHERS and not who.tenant)
    return entry.good if there else entry.absent
