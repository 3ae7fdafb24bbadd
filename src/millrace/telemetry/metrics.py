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

_EACH = ("process", "instance")
SUPERVISOR_METRICS: tuple[Metric, ...] = (
    Metric(name="millrace_supervisor_process_up", kind="gauge", help="1 while the instance runs.", labels=_EACH),
    Metric(name="millrace_supervisor_process_ready", kind="gauge", help="1 while it is ready.", labels=_EACH),
    Metric(
        name="millrace_supervisor_process_restarts_total",
        kind="counter",
        help="Starts of the instance after its first.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_failures",
        kind="gauge",
        help="Ends in a row that nobody asked for.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_start_time_seconds",
        kind="gauge",
        help="When the running process was started, since 1970.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_last_exit_code",
        kind="gauge",
        help="How it ended the last time; 128 and the signal's number where one ended it.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_desired_scale",
        kind="gauge",
        help="How many instances there shall be.",
        labels=("process",),
    ),
    Metric(
        name="millrace_supervisor_current_scale",
        kind="gauge",
        help="How many instances run.",
        labels=("process",),
    ),
)
"""What a supervisor serves. The series of an instance that was scaled away are gone."""
