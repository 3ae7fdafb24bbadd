"""A master in memory that speaks the worker protocol over real HTTP, in a thread of its own, with faults to order.

It keeps the rules that a worker relies on (attempts fence, epochs fence, claims are named, logs have offsets), so that
protocol tests need no store and no scheduler.
"""

import asyncio
import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millrace.wire.v1 import problems, work
from millrace.wire.v1.jobs import OutputView

KEY = "mr_test_key_0123456789"
PATIENCE_S = 30.0


@dataclass
class Task:
    id: str
    number: int
    spec: dict
    timeout_s: float | None
    state: str = "queued"
    attempt: int = 0
    node: str | None = None
    paused: bool = False
    failure: tuple[str, str] | None = None
    reason: str = ""
    outputs: list = field(default_factory=list)
    facts: dict = field(default_factory=dict)
    logs: dict = field(default_factory=dict)  # attempt -> bytearray
    reports: list = field(default_factory=list)
    started: int = 0

    @property
    def log(self):
        return bytes(self.logs.get(self.attempt, b"")).decode()


class FakeMaster:
    def __init__(self, *, ttl_s=15.0, heartbeat_s=0.2):
        self.ttl_s = ttl_s
        self.heartbeat_s = heartbeat_s
        self.changed = threading.Condition()
        self.tasks: dict[str, Task] = {}
        self.claims: dict[str, list] = {}
        self.nodes: dict[str, dict] = {}  # fingerprint -> node
        self.calls: list[str] = []
        self.beats = 0
        self.unlisted: set[str] = set()  # tasks that their node did not name in a heartbeat
        self.drain = False
        self.ends: list = []  # the reports that ended an attempt
        self.refuse_claims = False  # of reports
        self.superseded = False  # who registers again comes too late
        self.most_held = 0  # tasks at once
        self.uploads: dict[str, bytes] = {}
        self.upload_cut: list[int] = []  # lengths after which a download breaks off
        self.asked: list[str | None] = []
        self.events: list[list[str]] = []  # what each stream sends before it ends
        self.followed: list[dict] = []
        self.parts: dict[str, bytearray] = {}
        self.stored: dict[tuple[str, str], bytes] = {}
        self.fault: Callable[[str], str | None] = lambda _: None
        self.url = ""

    # In the test's thread ---------------------------------------------------------------------------------------------

    def __enter__(self):
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(setattr, self._server, "should_exit", True)
        self._loop.call_soon_threadsafe(setattr, self._server, "force_exit", True)
        with self.changed:
            self.changed.notify_all()
        self._thread.join(PATIENCE_S)

    def add(self, spec, *, timeout_s=None):
        with self.changed:
            number = len(self.tasks) + 1
            task = Task(id=f"j{number:032x}.1", number=number, spec=spec, timeout_s=timeout_s)
            self.tasks[task.id] = task
            self._woken()
            return task

    def change(self, task, **fields):
        with self.changed:
            for name, value in fields.items():
                setattr(task, name, value)
            self._woken()

    def wait(self, condition, what="the condition"):
        with self.changed:
            if not self.changed.wait_for(condition, PATIENCE_S):
                raise AssertionError(
                    f"{what} did not come; tasks: {list(self.tasks.values())}; calls: {self.calls[-20:]}"
                )

    async def until(self, condition, what="the condition"):
        await asyncio.to_thread(self.wait, condition, what)

    def count(self, word):
        return sum(word in call for call in self.calls)

    # In the master's thread -------------------------------------------------------------------------------------------

    def _woken(self):
        self.changed.notify_all()
        loop = getattr(self, "_loop", None)
        if loop is not None:
            loop.call_soon_threadsafe(self._work.set)

    def _serve(self, ready):
        async def main():
            self._loop = asyncio.get_running_loop()
            self._work = asyncio.Event()
            config = uvicorn.Config(self._faulty(self._app()), log_level="critical", lifespan="off", ws="none")
            self._server = uvicorn.Server(config)
            listener = socket.create_server(("127.0.0.1", 0))  # from here on connections wait in its queue
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            ready.set()
            await self._server._serve([listener])
            listener.close()

        asyncio.run(main())

    def _app(self):
        def post(path, handler):
            return Route(path, handler, methods=["POST"])

        return Starlette(
            routes=[
                post("/v1/nodes", self._register),
                post("/v1/nodes/{node}/claim", self._claim),
                post("/v1/nodes/{node}/heartbeat", self._heartbeat),
                post("/v1/tasks/{task}/start", self._start),
                post("/v1/tasks/{task}/complete", self._complete),
                post("/v1/tasks/{task}/fail", self._fail),
                post("/v1/tasks/{task}/hand-back", self._hand_back),
                post("/v1/tasks/{task}/log", self._log),
                Route("/v1/tasks/{task}/outputs/{name:path}", self._output, methods=["PUT"]),
                Route("/v1/jobs/{job}/outputs/{name:path}", self._kept, methods=["GET"]),
                Route("/v1/events", self._events, methods=["GET"]),
                post("/v1/uploads", self._new_upload),
                Route("/v1/uploads/{id}", self._upload, methods=["GET", "PATCH"]),
                Route("/v1/uploads/{id}/content", self._content, methods=["GET"]),
            ]
        )

    def _faulty(self, app):
        """`fault(path)` may say: lost-request (nothing is done), lost-reply (done, not answered), held-reply
        (done, and silent until the client goes), or a status.
        """

        async def wrapped(scope, receive, send):
            if scope["type"] != "http":
                return
            call = f"{scope['method']} {scope['path']}"
            with self.changed:
                self.calls.append(call)
                fault = self.fault(call)
                self.changed.notify_all()

            async def nowhere(message):
                pass

            if dict(scope["headers"]).get(b"authorization") != f"Bearer {KEY}".encode():
                fault = "401"
            if fault is None:
                await app(scope, receive, send)
            elif fault.isdecimal():
                await _problem(int(fault), "to-order", "to order")(scope, receive, send)
            else:
                if fault in ("lost-reply", "held-reply"):
                    await app(scope, receive, nowhere)
                if fault == "held-reply":
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    return
                # A body that is shorter than announced: the client sees the connection break.
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9999")]})
                await send({"type": "http.response.body", "body": b"{", "more_body": False})

        return wrapped

    async def _register(self, request):
        body = await _read(request, work.RegisterRequest)
        if self.superseded and body.fingerprint in self.nodes:
            return _problem(409, "superseded", "cannot take the worker back: another one has registered since")
        with self.changed:
            node = self.nodes.setdefault(
                body.fingerprint, {"id": f"n{len(self.nodes) + 1:032x}", "epoch": 0, "boot": ""}
            )
            if node["boot"] != body.boot_id or node.pop("lost", False):
                node.update(boot=body.boot_id, epoch=node["epoch"] + 1)
            node["request"] = body
            self.changed.notify_all()
        return _json(
            work.RegisterReply(
                node=node["id"], epoch=node["epoch"], lease_ttl_s=self.ttl_s, heartbeat_s=self.heartbeat_s
            )
        )

    def _node(self, request, epoch):
        node = next((n for n in self.nodes.values() if n["id"] == request.path_params["node"]), None)
        return node if node is not None and node["epoch"] == epoch and not node.get("lost") else None

    async def _claim(self, request):
        body = await _read(request, work.ClaimRequest)
        deadline = self._loop.time() + body.wait_s
        while True:
            with self.changed:
                node = self._node(request, body.epoch)
                if node is None:
                    return _problem(409, "stale-epoch", "register again")
                given = self.claims.get(body.request) or self._give(body, node["id"])
            left = deadline - self._loop.time()
            if given or left <= 0 or self._server.should_exit:
                return _json(work.ClaimReply(tasks=given))
            self._work.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait(), min(left, 0.2))

    def _give(self, body, node):
        given = []
        for task in self.tasks.values():
            if task.state == "queued" and len(given) < body.limit and not self.drain:
                task.state, task.node, task.attempt = "assigned", node, task.attempt + 1
                job = task.id.partition(".")[0]
                given.append(
                    work.TaskView(
                        task=task.id, job=job, number=task.number, attempt=task.attempt, profile="test", spec=task.spec,
                        timeout_s=task.timeout_s,
                    )
                )  # fmt: skip
        if given:
            held = sum(task.state in ("assigned", "processing") for task in self.tasks.values())
            self.most_held = max(self.most_held, held)
            self.claims[body.request] = given
            self.changed.notify_all()
        return given

    async def _heartbeat(self, request):
        body = await _read(request, work.HeartbeatRequest)
        with self.changed:
            node = self._node(request, body.epoch)
            if node is None:
                return _problem(409, "stale-epoch", "register again")
            self.beats += 1
            named = {report.task for report in body.tasks}
            held = (one for one in self.tasks.values() if one.node == node["id"])
            self.unlisted |= {one.id for one in held if one.state in ("assigned", "processing")} - named
            directives = []
            for report in body.tasks:
                task = self.tasks.get(report.task)
                ours = task is not None and (task.attempt, task.node) == (report.attempt, node["id"])
                if ours:
                    task.reports.append(report)
                action = None
                if not ours or task.state not in ("assigned", "processing", "paused"):
                    action = "cancel"
                elif task.paused != report.paused:
                    action = "pause" if task.paused else "resume"
                if action:
                    directives.append(work.DirectiveView(task=report.task, attempt=report.attempt, action=action))
            self.changed.notify_all()
        return _json(work.HeartbeatReply(lease_ttl_s=self.ttl_s, drain=self.drain, directives=directives))

    def _settle(self, request, body, sources, **fields):
        with self.changed:
            task = self.tasks.get(request.path_params["task"])
            if task is None:
                return _problem(404, "not-found", "there is no such task")
            if (task.attempt, task.node) != (body.attempt, body.node):
                return _problem(409, "stale-attempt", "the attempt is over")
            if task.state in sources:
                for name, value in fields.items():
                    setattr(task, name, value)
            elif task.state != fields["state"]:
                return _problem(409, "stale-attempt", f"the task is {task.state}")
            self._woken()
            return _json(work.Taken(task=task.id, state=task.state))

    def _end(self, request, body, **fields):
        """The report and, if it is taken, its claim."""
        with self.changed:
            self.ends.append(body)
            if body.claim is not None and self.refuse_claims:
                return _problem(409, "stale-epoch", "register again")
            answer = self._settle(request, body, ("assigned", "processing", "paused"), **fields)
            if answer.status_code != 200:
                return answer
            given = []
            if body.claim is not None:
                given = self.claims.get(body.claim.request) or self._give(body.claim, body.node)
            return _json(work.Ended(task=request.path_params["task"], state=fields["state"], tasks=given))

    async def _start(self, request):
        body = await _read(request, work.StartRequest)
        return self._settle(request, body, ("assigned",), state="processing", started=1)

    async def _complete(self, request):
        body = await _read(request, work.CompleteRequest)
        return self._end(request, body, state="completed", outputs=body.outputs, facts=body.facts)

    async def _fail(self, request):
        body = await _read(request, work.FailRequest)
        failure = (str(body.failure_class), body.message)
        return self._end(request, body, state="failed", failure=failure, facts=body.facts)

    async def _hand_back(self, request):
        body = await _read(request, work.HandBackRequest)
        return self._end(request, body, state="handed_back", reason=body.reason)

    async def _log(self, request):
        data = await request.body()
        query = request.query_params
        with self.changed:
            task = self.tasks[request.path_params["task"]]
            if task.node != query["node"]:
                return _problem(409, "stale-attempt", "the attempt is over")
            log = task.logs.setdefault(int(query["attempt"]), bytearray())
            offset = int(query["offset"])
            if offset <= len(log):
                log += data[len(log) - offset :]
            self.changed.notify_all()
            return _json(work.LogReply(length=len(log)))

    async def _output(self, request):
        data = await request.body()
        query = request.query_params
        with self.changed:
            task = self.tasks[request.path_params["task"]]
            if (task.attempt, task.node) != (int(query["attempt"]), query["node"]):
                return _problem(409, "stale-attempt", "the attempt is over")
            name = request.path_params["name"]
            self.stored[(task.id, name)] = data
        digest = hashlib.sha256(data).hexdigest()
        return _json(OutputView(name=name, size=len(data), sha256=digest, streams=[], url=f"/v1/jobs/x/outputs/{name}"))

    async def _kept(self, request):
        data = self.stored.get((request.path_params["job"], request.path_params["name"]))
        if data is None:
            return _problem(404, "not-found", "there is no such output")
        self.asked.append(request.headers.get("range"))
        return ranged(request, data, self.upload_cut)

    async def _events(self, request):
        self.followed.append(dict(request.query_params))
        return Response("".join(self.events.pop(0) if self.events else []), media_type="text/event-stream")

    async def _new_upload(self, request):
        body = msgspec.json.decode(await request.body())
        with self.changed:
            identity = f"u{len(self.parts) + 1}"
            self.parts[identity] = bytearray()
            self.sizes = {**getattr(self, "sizes", {}), identity: body["size"]}
        return self._view(identity)

    def _view(self, identity):
        body = {"id": identity, "name": "x", "size": self.sizes[identity], "offset": len(self.parts[identity])}
        return Response(msgspec.json.encode(body), media_type="application/json")

    async def _upload(self, request):
        identity = request.path_params["id"]
        if request.method == "PATCH":
            if int(request.headers["upload-offset"]) != len(self.parts[identity]):
                return _problem(409, "upload-offset", "the offset is another")
            self.parts[identity] += await request.body()
            if len(self.parts[identity]) == self.sizes[identity]:
                self.uploads[identity] = bytes(self.parts[identity])
        return self._view(identity)

    async def _content(self, request):
        data = self.uploads.get(request.path_params["id"])
        if data is None:
            return _problem(404, "not-found", "there is no such upload")
        self.asked.append(request.headers.get("range"))
        return ranged(request, data, self.upload_cut)


def ranged(request: Request, data: bytes, cut: list[int]) -> Response:
    """Bytes with Range; each entry of `cut` lets one answer break off after that many bytes."""
    asked = request.headers.get("range", "")
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start = int(first) if asked else 0
    body = data[start : int(last) + 1] if last else data[start:]
    headers = {"content-length": str(len(body)), "etag": '"one"'}
    if asked:
        headers["content-range"] = f"bytes {start}-{start + len(body) - 1}/{len(data)}"
    response = Response(b"", status_code=206 if asked else 200, headers=headers)
    response.body = body[: cut.pop(0)] if cut else body
    return response


async def _read(request, shape):
    return msgspec.json.decode(await request.body(), type=shape)


def _json(value):
    return Response(msgspec.json.encode(value), media_type="application/json")


def _problem(status, kind, detail):
    body = problems.encode(problems.Problem(type=kind, title=kind, status=status, detail=detail))
    return Response(body, status_code=status, media_type=problems.CONTENT_TYPE)
