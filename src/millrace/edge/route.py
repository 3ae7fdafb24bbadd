"""A route as data: what a table of the whole surface is made of."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeVar

from msgspec import Struct

from millrace.edge.call import Call

C = TypeVar("C")

JSON_LIMIT = 1 << 20
"""Bytes of a JSON body, where the route says nothing else."""


class Access(StrEnum):
    """Who may use a route."""

    OPEN = "open"  # anybody, without a key
    READ = "read"  # see jobs, their logs, events and outputs; of a supervisor, everything
    INSPECT = "inspect"  # see what tenants share: nodes, counts, metrics
    SUBMIT = "submit"  # submit and steer jobs, upload
    OPERATE = "operate"  # drain and remove nodes; steer a supervisor
    ADMIN = "admin"  # keep the keys; end a supervisor, read its audit trail
    WORK = "work"  # be a worker: claim, report, deliver
    FETCH = "fetch"  # fetch an upload, as people and workers do


class Body(StrEnum):
    """What a route expects as its body."""

    NONE = "none"  # ignored
    JSON = "json"  # decoded into the request type
    OPTIONAL_JSON = "optional-json"  # as JSON; an empty body is None
    RAW = "raw"  # the handler reads it piece by piece


class Param(Struct, frozen=True, kw_only=True):
    """One parameter in the query or a header."""

    name: str
    text: str
    where: str = "query"
    schema: Mapping[str, object] | None = None
    repeatable: bool = False
    required: bool = False
    example: object = None


Handler = Callable[[C, Call[Any]], Awaitable[object]]
"""Decode (done), one verb, encode (comes): gets what the server works with and the call, gives the reply."""


class Route(Struct, Generic[C], frozen=True, kw_only=True):
    """One method on one path.

    Attributes:
        path: segments; `{name}` is one segment, `{name*}` as the last takes all that is left.
        request: the type of the JSON body; with `body` RAW, nothing is decoded.
        reply: the type of the JSON reply; None where the handler gives an `Answer` or a `Stream`.
        media: the content type of a reply that is not JSON.
        statuses: what the route refuses with, beside those that every route may give.
        quiet: a success is too frequent to be worth a line in the access log, and so is a lack of space.
        watch: what the route changes, as a JSON value, or what gives it when awaited; asked before and after it for the audit
            trail. It must not raise.
        made: what of the reply the audit trail keeps, in the place of the request; no secret.
        frequent: it comes thousands of times a second, so its answer does not wait for its entry in the audit trail.
        audited: what of a body may stand in the audit trail, where not all of it may; it must not raise.
        noted: it gets an entry in the audit trail although it is for workers.
        rehearsal: the parameter of the query that, when it is `true`, has the route change nothing: only who is turned away is
            written down then, and no log tells of it.
        also: other statuses of success, with the same reply.
        alias: a path of the predecessor; answered, but not advertised.
    """

    method: str
    path: str
    access: Access
    handler: Handler[C]
    summary: str
    body: Body = Body.NONE
    request: object = None
    reply: object = None
    status: int = 200
    statuses: tuple[int, ...] = ()
    params: tuple[Param, ...] = ()
    media: str = "application/json"
    limit: int = JSON_LIMIT
    quiet: bool = False
    watch: Callable[[C, Call[Any]], object] | None = None
    audited: Callable[[Any], object] | None = None
    rehearsal: str = ""
    also: tuple[int, ...] = ()
    made: Callable[[Any], object] | None = None
    frequent: bool = False
    noted: bool = False
    alias: bool = False
    tag: str = ""
