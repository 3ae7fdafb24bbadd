"""The control API as an ASGI application; who may come in is in the rules."""

from collections.abc import Callable

from msgspec.structs import asdict

from millrace.edge.access import Rules
from millrace.edge.audit import Audit
from millrace.edge.rate_limit import RateLimiter
from millrace.edge.server import Edge, Served
from millrace.edge.shares import Shares
from millrace.supervisor.control.supervisor import Supervisor
from millrace.supervisor.control.table import TABLE
from millrace.telemetry.logs import logger

log = logger("supervisor")


def control_app(supervisor: Supervisor, *, rules: Callable[[], Rules], most_requests: int = 10_000) -> Edge[Supervisor]:
    """One application for every door: the server says in the scope who the kernel or a certificate says is there.

    `most_requests`: how many may be under way, of which a caller has its part.
    """
    return Edge(
        TABLE,
        supervisor,
        rules=rules,
        explain=lambda _: None,
        tally=supervisor.tally,
        served=_write_access_log,
        limiter=RateLimiter(supervisor.clock.monotonic),
        shares=Shares(most_requests),
        audit=Audit(lambda entry, _: supervisor.trail.add(entry), now=supervisor.clock.now),
    )


def _write_access_log(served: Served) -> None:
    """Reading is too frequent to be worth a line; a change, and a refusal, is."""
    if served.method in ("GET", "HEAD") and served.status < 400:
        return
    log.info("supervisor.request", **asdict(served))
