"""The API as one ASGI application."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import cache, partial

import msgspec
from msgspec.structs import replace

from millrace.api import uploads
from millrace.api.explain import explain
from millrace.api.master import Authority, Limits, Master, WorkerAuth
from millrace.api.table import TABLE
from millrace.blobs.values import Blobs
from millrace.edge.access import Rates, Rules
from millrace.edge.audit import Audit, AuditEntry
from millrace.edge.call import Answer, Call, Receive, Scope, Send
from millrace.edge.keys import Keys
from millrace.edge.rate_limit import RateLimiter
from millrace.edge.route import Route
from millrace.edge.server import Edge, Served
from millrace.edge.shares import Shares
from millrace.outbound.guard import Guard
from millrace.scheduler.farm import Farm
from millrace.scheduler.journal import Journal
from millrace.scheduler.leadership import Leadership
from millrace.scheduler.offers import Offers
from millrace.telemetry.logs import logger

log = logger("api")
_encode = msgspec.json.Encoder().encode


def write_access_log(served: Served) -> None:
    """One event for each answer that is worth a line; no query and no header, for they may hold secrets."""
    log.frequent("api.request", served)


class App:
    """The ASGI application of one master. Call `stop` before the server stops, so that long polls and streams end."""

    def __init__(self, edge: Edge[Master], master: Master) -> None:
        """Use `build_app`."""
        self._edge = edge
        self.master = master

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request."""
        return self._edge(scope, receive, send)

    async def expire_uploads(self, *, before: datetime) -> int:
        """Remove uploads that were begun before a moment; returns how many."""
        return await uploads.expire(self.master, before=before)

    async def heed_keys(self) -> None:
        """End the parked claims and the streams of keys that were revoked or have expired; call it every few seconds."""
        await self.master.heed_keys()

    def stop(self) -> None:
        """End every parked claim and every stream of events; `/ready` says no from now on. May be called twice."""
        self.master.stop()


def build_app(
    farm: Farm,
    offers: Offers,
    blobs: Blobs,
    keys: Keys,
    *,
    pages: Sequence[Route[Master]] = (),
    lost: Callable[[Call[None]], Answer | None] = lambda _: None,
    limits: Limits | None = None,
    guard: Guard | None = None,
    authority: Authority | None = None,
    worker_auth: WorkerAuth = WorkerAuth.ANY,
    journal: Journal | None = None,
    leadership: Leadership | None = None,
    rates: Rates | None = None,
    hosts: frozenset[str] | None = None,
    most_requests: int = 10_000,
    served: Callable[[Served], None] = write_access_log,
) -> App:
    """Everything that a master answers.

    Args:
        farm: the verbs' hold on the farm.
        offers: which node can run what; the same that `Duties` has.
        blobs: where uploads and kept outputs lie.
        keys: who may call.
        pages: further routes, such as the pages of `web`.
        lost: may show a stranger the way to log in.
        limits: sizes of bodies.
        guard: where webhooks may go; public addresses only where it is None.
        authority: signs for machines that join; None where there is none.
        worker_auth: what workers must show.
        journal: keeps the audit trail; without one there is none.
        leadership: knows the other masters.
        rates: how often callers may ask all masters together.
        hosts: the names by which it may be asked; None: any.
        most_requests: how many may be under way, of which a key has its part.
        served: hears of every answer worth a line in the access log.
    """
    master = Master(
        farm=farm,
        offers=offers,
        blobs=blobs,
        limits=limits or Limits(),
        guard=guard or Guard(),
        keys=keys,
        journal=journal,
        leadership=leadership,
        authority=authority,
        worker_auth=worker_auth,
    )
    master.description = cache(lambda: _document(master.version))
    limiter = RateLimiter(farm.clock.monotonic)
    master.limited = limiter.refused
    rules = _SharedRules(Rules(keys=keys, workers=authority is not None, hosts=hosts), rates or Rates(), leadership)
    edge = Edge(
        (*TABLE, *pages),
        master,
        rules=rules,
        limiter=limiter,
        shares=Shares(most_requests),
        explain=lambda error: explain(error, farm.space),
        tally=master.tally,
        served=served,
        lost=lost,
        within=Master.within,
        audit=None if journal is None else Audit(partial(_keep, journal), now=farm.clock.now),
    )
    return App(edge, master)


def _keep(journal: Journal, entry: AuditEntry, frequent: bool) -> Awaitable[None] | None:
    if not frequent:
        return journal.note(_encode(entry))
    journal.add(_encode(entry))
    return None


class _SharedRules:
    """The rules of this moment: masters share the rates, evenly, as a balancer in front of them shares the requests."""

    def __init__(self, rules: Rules, rates: Rates, leadership: Leadership | None) -> None:
        self._rules = rules
        self._rates = rates
        self._leadership = leadership
        self._masters = 0

    def __call__(self) -> Rules:
        attendance = self._leadership.attendance if self._leadership is not None else None
        masters = 1 if attendance is None else max(1, len(attendance.masters))
        if masters != self._masters:
            self._masters = masters
            self._rules = replace(self._rules, rates=self._rates.shared_by(masters))
        return self._rules


def _document(version: str) -> bytes:
    from millrace.api.openapi import document  # noqa: PLC0415  nobody waits for it at the start

    return document(version)
