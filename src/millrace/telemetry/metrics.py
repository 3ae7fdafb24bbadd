"""The one table of what Millrace measures, for Prometheus. What is served is made from it, and docs are tested against it."""

from typing import Literal

from msgspec import Struct

Kind = Literal["counter", "gauge", "histogram"]


class Metric(Struct, frozen=True, kw_only=True):
    """One row of the table. `help` is the sentence that Prometheus and the docs show."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


METRICS: tuple[Metric, ...] = (
    Metric(name="millrace_jobs", kind="gauge", help="Jobs by state.", labels=("state",)),
    Metric(name="millrace_nodes", kind="gauge", help="Registered nodes by state.", labels=("state",)),
    Metric(name="millrace_waiting_claims", kind="gauge", help="Claims that wait for work in this master."),
    Metric(
        name="millrace_http_requests_total",
        kind="counter",
        help="Requests answered.",
        labels=("route", "method", "status"),
    ),
    Metric(
        name="millrace_http_request_seconds",
        kind="histogram",
        help="Time to answer a request.",
        labels=("route",),
    ),
)
