"""The ASGI application over a table of routes: find, check the key, decode, handle, encode, and count.

It is written without a framework because the workers' routes are hot: a router of regular expressions and a stack of
middleware cost more than the verb behind them (docs/decisions/0010-http.md has the measurement).
"""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from inspect import isawaitable
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from millrace.edge.access import KNOWN, Rules, check_host, check_place, identify, whose_share
from millrace.edge.audit import Audit
from millrace.edge.call import (
    WHOLE,
    Answer,
    Call,
    ClientGoneError,
    Header,
    Receive,
    Scope,
    Send,
    Stream,
    whole_body,
)
from millrace.edge.decode import decoder
from millrace.edge.keys import Caller, forbidden, is_foreign, stranger
from millrace.edge.known_keys import Mark, UnfamiliarError
from millrace.edge.rate_limit import RateLimiter, exhausted
from millrace.edge.rate_limit import headers as rate_headers
from millrace.edge.refusal import PROBLEM_CONTENT_TYPE, RefusalError, not_found
from millrace.edge.route import Access, Body, Handler, Route
from millrace.edge.shares import Shares
from millrace.edge.tally import Tally
from millrace.edge.tree import Tree

C = TypeVar("C")
log = logging.getLogger("millrace.edge")

_UNROUTED = "(none)"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON = b"application/json"
_SNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_OF_JSON = (_SNIFF, _NO_STORE, (b"content-type", _JSON))
_OF_NOTHING = (_SNIFF, _NO_STORE)
_encode = msgspec.json.Encoder().encode


class Served(Struct, frozen=True, kw_only=True):
    """One request that was answered, for the access log. Holds no secret and no query."""

    request_id: str
    method: str
    path: str
    status: int
    seconds: float
    caller: str
    client: str


class _Ready(Struct, Generic[C], frozen=True):
    """A route with all that can be worked out before the first request."""

    method: str
    path: str
    access: Access
    handler: Handler[C]
    body: Body
    decode: Callable[[bytes], Any] | None
    status: int
    limit: int
    quiet: bool
    watch: Callable[[C, Call[Any]], object] | None
    audited: Callable[[Any], object] | None
    rehearsal: str
    made: Callable[[Any], object] | None
    frequent: bool
    noted: bool


class Edge(Generic[C]):
    """An ASGI application. Handlers get `context`; `explain` turns their errors into refusals (None: a fault of ours)."""

    def __init__(
        self,
        routes: Sequence[Route[C]],
        context: C,
        *,
        rules: Callable[[], Rules],
        explain: Callable[[Exception], RefusalError | None],
        tally: Tally | None = None,
        served: Callable[[Served], None] = lambda _: None,
        lost: Callable[[Call[None]], Answer | None] = lambda _: None,
        limiter: RateLimiter | None = None,
        shares: Shares | None = None,
        audit: Audit | None = None,
        within: Callable[[C, str], C] | None = None,
    ) -> None:
        """`within` gives the context as one tenant sees it, for the keys that are bound to one. `rules` are asked for with every request, so that they may change; `limiter` counts where they have a rate. `shares` are the requests that may be under way, of which a key has its part. `served` hears of every answer worth a line; `lost` may show a stranger the way instead of a bare 401."""
        self.tally = tally or Tally()
        self._context = context
        self._rules = rules
        self._limiter = limiter
        self._shares = shares
        self._audit = audit
        self._within = within
        self._explain = explain
        self._served = served
        self._lost = lost
        self._tree: Tree[_Ready[C]] = Tree()
        self._prefix = os.urandom(6).hex().encode()
        self._count = 0
        for route in routes:
            self._tree.add(route.method, route.path, _ready(route))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request."""
        if scope["type"] == "http":
            return self._http(scope, receive, send)
        if scope["type"] == "lifespan":
            return _lifespan(receive, send)
        return send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender = _Sender(scope, send)
        try:
            await self._answer(scope, receive, sender)
        finally:
            if sender.holds and self._shares is not None:
                self._shares.give_back(sender.holds)

    async def _answer(self, scope: Scope, receive: Receive, sender: "_Sender") -> None:
        began = time.perf_counter()
        headers = dict(scope["headers"])
        sender.request_id = headers.get(b"x-request-id", b"")
        if not _is_plain(sender.request_id):
            self._count += 1
            sender.request_id = b"%s-%x" % (self._prefix, self._count)
        route: _Ready[C] | None = None
        call: Call[Any] | None = None
        note = _Note(self._audit, scope, sender)
        try:
            while route is None or call is None:
                try:
                    route, call = self._admit(scope, headers, receive, sender)
                except UnfamiliarError as error:
                    await self._learn(error)
            context = self._context if not call.tenant else self._of_tenant(call.tenant)
            if route.decode is not None:
                call.body = await _decoded(route, receive, headers)
            if self._audit is not None:
                note.begin(route, context, call)
                if route.watch is not None:
                    await note.look_before(route.watch)
            reply = await route.handler(context, call)
            await note.write(_status_of(route, reply), reply=reply)
            await sender.reply(route.status, reply)
        except ClientGoneError:
            sender.status = 499  # nginx's number for it; nobody reads the answer
            await note.write(sender.status)
        except Exception as error:  # noqa: BLE001  the last line of defence: every fault becomes a problem or a log line
            await self._refuse(error, note, headers, receive)
        seconds = time.perf_counter() - began
        rehearsed = route is not None and _is_rehearsal(route, scope, sender.status)
        template = route.path if route is not None else _UNROUTED
        self.tally.add(_known_method(scope["method"]), template, sender.status, seconds)
        # A lack of space meets every call, and whoever finds it says so in the log.
        dull = sender.status < 400 or sender.status == HTTPStatus.INSUFFICIENT_STORAGE
        if route is None or not (rehearsed or (route.quiet and dull)):
            client = scope.get("client")
            self._served(
                Served(
                    request_id=sender.request_id.decode("latin-1"),
                    method=scope["method"],
                    path=scope["path"],
                    status=sender.status,
                    seconds=round(seconds, 6),
                    caller=call.caller if call is not None else "",
                    client=client[0] if client else "",
                )
            )

    def _of_tenant(self, tenant: str) -> C:
        """The context of a key that is bound to a tenant."""
        if self._within is None:
            raise AssertionError("this server has no tenants")
        return self._within(self._context, tenant)

    async def _learn(self, error: UnfamiliarError) -> None:
        """Look up a key that has not been asked for lately."""
        keys = self._rules().keys
        if keys is None:
            raise error
        await keys.learn(error)

    def _admit(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, sender: "_Sender"
    ) -> tuple[_Ready[C], Call[Any]]:
        """The route, and the call as far as it is known before its body; or a refusal."""
        rules = self._rules()
        check_place(rules, scope)
        check_host(rules, scope, headers)
        raw = scope.get("raw_path")
        path = raw.decode("latin-1") if raw is not None else scope["path"]
        found = self._tree.find(path)
        method = scope["method"]
        route = None
        if found is not None:
            route = found[0].get(method) or (found[0].get("GET") if method == "HEAD" else None)
        if route is not None:
            sender.asked, sender.access = route.path, route.access
        caller, grants = "nobody", frozenset[Access]()
        mark: Mark = ""
        tenant, machine, key_id = "", None, ""
        is_open = route is not None and route.access is Access.OPEN
        known = sender.caller = None if is_open else identify(rules, scope, headers)
        self._spend(rules, scope, sender)
        if not is_open:
            # A stranger does not even learn which paths there are.
            if known is None:
                raise stranger(headers)
            if route is not None and route.access not in known.key.grants:
                raise forbidden(route.access, known.key)
            if known.by_cookie and method not in _SAFE_METHODS and is_foreign(headers):
                raise RefusalError(403, "forbidden", "cannot answer: the request comes from another site")
            key = known.key
            scope.get("state", {})[KNOWN] = True
            self._hold(key.name, sender)
            caller, grants, mark, tenant = key.name, key.grants, key.mark, key.tenant
            machine, key_id = key.machine, key.id
        if found is None:
            raise not_found(f"there is nothing at {path[:200]}; /v1/openapi.json lists what there is")
        if route is None:
            allowed = sorted({*found[0], *(["HEAD"] if "GET" in found[0] else [])})
            raise RefusalError(
                405,
                "method-not-allowed",
                f"cannot {method[:16]} this path; it answers {', '.join(allowed)}",
                headers={"allow": ", ".join(allowed)},
            )
        return route, Call(
            scope=scope, receive=receive, headers=headers, path=found[1], caller=caller, body=None, limit=route.limit,
            grants=grants, mark=mark, tenant=tenant, machine=machine, key_id=key_id,
        )  # fmt: skip

    def _hold(self, caller: str, sender: "_Sender") -> None:
        """Take one of the caller's places for as long as the request is under way."""
        if self._shares is None or sender.holds:
            return
        if not self._shares.take(caller):
            raise RefusalError(
                429,
                "too-many-connections",
                f"cannot answer: key {caller!r} has {self._shares.held(caller)} requests under way, three times as many as are left "
                "to all others; let some of them end, or try again soon",
                headers={"retry-after": "2"},
            )
        sender.holds = caller

    def _spend(self, rules: Rules, scope: Scope, sender: "_Sender") -> None:
        """Take the request from its caller's share, and let the reply tell what is left."""
        if rules.rates is None or self._limiter is None:
            return
        caller = sender.caller
        machine = caller is not None and caller.key.machine is not None
        found = rules.rates.of(
            sender.access, known=caller is not None, safe=scope["method"] in _SAFE_METHODS, machine=machine
        )
        if found is not None:
            name, rate = found
            whose = f"{name} {whose_share(scope, caller)}"
            if machine and sender.access is Access.WORK and self._limiter.passes(rate, whose):
                return
            share = self._limiter.spend(rate, whose)
            sender.extra = rate_headers(name, rate, share)
            if share.wait_s:
                self._limiter.count(name)
                raise exhausted(share)

    async def _refuse(self, error: Exception, note: "_Note", headers: dict[bytes, bytes], receive: Receive) -> None:
        sender, scope = note.sender, note.scope
        refusal = error if isinstance(error, RefusalError) else self._explain(error)
        if refusal is None:
            log.error(
                "request %s: %s %s failed", sender.request_id.decode("latin-1"), scope["method"], scope["path"],
                exc_info=error,
            )  # fmt: skip
            refusal = RefusalError(
                500,
                "internal",
                "cannot answer: something is wrong inside this server; its log has more under request id "
                + sender.request_id.decode("latin-1"),
            )
        if sender.started:
            return  # too late for a problem: the broken-off body tells the client
        answer = None
        if refusal.status == 401:
            answer = self._lost(
                Call(scope=scope, receive=receive, headers=headers, path={}, caller="", body=None, limit=0)
            )
        if answer is None:
            answer = Answer(
                status=refusal.status,
                body=refusal.body(),
                media=PROBLEM_CONTENT_TYPE,
                headers=tuple(refusal.headers.items()),
            )
        await note.write(refusal.status, detail=str(refusal.detail))
        await sender.reply(refusal.status, answer)


class _Note:
    """The entry of one request in the audit trail, where there is one; written once, before its answer goes out."""

    __slots__ = ("_audit", "_before", "_call", "_context", "_route", "scope", "sender")

    def __init__(self, audit: Audit | None, scope: Scope, sender: "_Sender") -> None:
        self._audit = audit
        self.scope = scope
        self.sender = sender
        self._route: _Ready[Any] | None = None
        self._context: Any = None
        self._call: Call[Any] | None = None
        self._before: object = None

    def begin(self, route: _Ready[Any], context: Any, call: Call[Any]) -> None:
        """The request is whole and may be answered."""
        self._route, self._context, self._call = route, context, call

    async def look_before(self, watch: Callable[[Any, Call[Any]], object]) -> None:
        """See what it is going to change."""
        self._before = await self._look(watch)

    async def write(self, status: int, *, reply: object = None, detail: str = "") -> None:
        """It was answered so, or refused because of `detail`; returns when that is kept."""
        audit, self._audit = self._audit, None
        scope, sender, route, call = self.scope, self.sender, self._route, self._call
        if audit is None or (route is not None and _is_rehearsal(route, scope, status)):
            return
        if not audit.wants(scope["method"], sender.access, status, noted=route is not None and route.noted):
            return
        made = route.made(reply) if route is not None and route.made is not None and reply is not None else None
        after = await self._look(route.watch) if route is not None and route.watch is not None and not detail else None
        client = scope.get("client")
        key = sender.caller.key if sender.caller is not None else None
        kept = audit.add(
            request_id=sender.request_id.decode("latin-1"),
            caller=key.name if key is not None else "",
            role=key.role if key is not None else "",
            client=str(client[0]) if client else "",
            method=scope["method"],
            route=sender.asked,
            path=scope["path"],
            status=status,
            request=_told(route, call) if made is None else None,
            before=self._before,
            after=after,
            detail=detail,
            key=key.id if key is not None else "",
            tenant=key.tenant if key is not None else "",
            made=made,
            frequent=route is not None and route.frequent,
        )
        if kept is not None:
            await kept

    async def _look(self, watch: Callable[[Any, Call[Any]], object]) -> object:
        if self._call is None:
            raise AssertionError("nothing to look at before the request is known")
        seen = watch(self._context, self._call)
        return await seen if isawaitable(seen) else seen


class _Sender:
    """Writes one reply."""

    __slots__ = ("_scope", "_send", "access", "asked", "caller", "extra", "holds", "request_id", "started", "status")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.request_id = b""
        self.asked = _UNROUTED
        self.access: Access | None = None
        self.caller: Caller | None = None
        self.extra: tuple[Header, ...] = ()
        self.holds = ""  # whose place among the requests that are under way
        self.started = False
        self.status = 500

    def reply(self, status: int, reply: object) -> Awaitable[None]:
        if isinstance(reply, Stream):
            return self._stream(reply)
        if isinstance(reply, Answer):
            shared: tuple[Header, ...] = (_SNIFF, (b"cache-control", reply.cache.encode()))
            if reply.status != 204:
                shared = (*shared, (b"content-type", reply.media.encode()))
            return self._whole(reply.status, shared, _encoded(reply.headers), reply.body)
        return self._whole(
            status, _OF_JSON if status != 204 else _OF_NOTHING, (), b"" if reply is None else _encode(reply)
        )

    def _whole(
        self, status: int, shared: tuple[Header, ...], headers: tuple[Header, ...], body: bytes
    ) -> Awaitable[None]:
        own = ((b"x-request-id", self.request_id), *self.extra, *headers)
        self.status = status
        self.started = True
        if WHOLE in self._scope.get("extensions", ()):
            return self._send({"type": WHOLE, "status": status, "shared": shared, "headers": own, "body": body})
        return self._in_two(status, [*own, *shared], body)

    async def _in_two(self, status: int, head: list[Header], body: bytes) -> None:
        if status != 204:
            head.append((b"content-length", b"%d" % len(body)))
        await self._send({"type": "http.response.start", "status": status, "headers": head})
        await self._send({"type": "http.response.body", "body": b"" if self._scope["method"] == "HEAD" else body})

    async def _stream(self, stream: Stream) -> None:
        head = [
            (b"x-request-id", self.request_id),
            _SNIFF,
            _NO_STORE,
            *self.extra,
            *_encoded(stream.headers),
            (b"content-type", stream.media.encode()),
        ]
        if stream.length is not None:
            head.append((b"content-length", b"%d" % stream.length))
        pieces = stream.pieces
        try:
            self.status = stream.status
            self.started = True
            await self._send({"type": "http.response.start", "status": stream.status, "headers": head})
            if self._scope["method"] != "HEAD":
                async for piece in pieces:
                    await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            close: Callable[[], Awaitable[None]] | None = getattr(pieces, "aclose", None)
            if close is not None:
                await close()


def _status_of(route: _Ready[Any], reply: object) -> int:
    return reply.status if isinstance(reply, Answer | Stream) else route.status


def _ready(route: Route[C]) -> _Ready[C]:
    decode = decoder(route.request) if route.body in (Body.JSON, Body.OPTIONAL_JSON) else None
    return _Ready(
        route.method, route.path, route.access, route.handler, route.body, decode, route.status, route.limit, route.quiet,
        route.watch, route.audited, route.rehearsal, route.made, route.frequent, route.noted,
    )  # fmt: skip


async def _decoded(route: _Ready[C], receive: Receive, headers: dict[bytes, bytes]) -> Any:
    media = headers.get(b"content-type", b"")
    if media != _JSON and media.partition(b";")[0].strip().lower() != _JSON:
        length = headers.get(b"content-length", b"0" if b"transfer-encoding" not in headers else b"")
        if media or length != b"0":
            raise RefusalError(
                415, "unsupported-media-type", "cannot read the body: its Content-Type must be application/json",
                headers={"accept": "application/json", "connection": "close"},
            )  # fmt: skip
    body = await whole_body(receive, headers, route.limit)
    if not body and route.body is Body.OPTIONAL_JSON:
        return None
    return route.decode(body) if route.decode is not None else None


def _told(route: _Ready[Any] | None, call: Call[Any] | None) -> object:
    """What of a request's body stands in the audit trail."""
    body = None if call is None else call.body
    return body if body is None or route is None or route.audited is None else route.audited(body)


def _is_rehearsal(route: _Ready[Any], scope: Scope, status: int) -> bool:
    """Whether it was only asked what a change would do, and nobody was turned away."""
    if not route.rehearsal or status >= 500 or status == HTTPStatus.FORBIDDEN:
        return False
    return f"{route.rehearsal}=true".encode() in scope.get("query_string", b"").split(b"&")


def _encoded(headers: tuple[tuple[str, str], ...]) -> tuple[Header, ...]:
    return tuple((name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers)


def _is_plain(request_id: bytes) -> bool:
    return 0 < len(request_id) <= 64 and request_id.replace(b"-", b"").isalnum()


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _known_method(method: str) -> str:
    return method if method in _METHODS else "OTHER"


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
