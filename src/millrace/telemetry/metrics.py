"""What Millrace measures, for Prometheus. One table names every metric; docs are tested against it.

A program makes one `Metrics` and hands it down. There is no global registry, so two programs (and two tests) in one
process never mix. prometheus-client is imported when the first `Metrics` is made (60 ms), not before.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from millrace.runtime.clock import Clock

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

Kind = Literal["counter", "gauge", "histogram"]

LATENCY_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WORK_BUCKETS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the table. `help` is the sentence that Prometheus and the docs show."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


METRICS: tuple[Metric, ...] = (
    Metric(name="millrace_jobs_submitted_total", kind="counter", help="Jobs accepted.", labels=("queue",)),
    Metric(name="millrace_jobs", kind="gauge", help="Jobs by state.", labels=("state",)),
    Metric(name="millrace_waiting_claims", kind="gauge", help="Claims that wait for work in this master."),
    Metric(name="millrace_tasks", kind="gauge", help="Tasks by state.", labels=("state",)),
    Metric(
        name="millrace_tasks_ended_total", kind="counter", help="Attempts that ended, by outcome.", labels=("outcome",)
    ),
    Metric(
        name="millrace_task_wait_seconds",
        kind="histogram",
        help="From runnable to claimed.",
        labels=("queue",),
        buckets=WORK_BUCKETS_S,
    ),
    Metric(
        name="millrace_task_run_seconds",
        kind="histogram",
        help="From claimed to ended.",
        labels=("outcome",),
        buckets=WORK_BUCKETS_S,
    ),
    Metric(name="millrace_leases_expired_total", kind="counter", help="Leases taken back from silent nodes."),
    Metric(name="millrace_nodes", kind="gauge", help="Registered nodes by state.", labels=("state",)),
    Metric(name="millrace_leader", kind="gauge", help="1 while this master leads."),
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
        buckets=LATENCY_BUCKETS_S,
    ),
    Metric(
        name="millrace_store_seconds",
        kind="histogram",
        help="Time of a store transaction.",
        labels=("name",),
        buckets=LATENCY_BUCKETS_S,
    ),
    Metric(name="millrace_worker_slots", kind="gauge", help="Slots of this worker by use.", labels=("use",)),
    Metric(name="millrace_worker_frames_total", kind="counter", help="Frames encoded.", labels=("codec",)),
    Metric(name="millrace_worker_scratch_free_bytes", kind="gauge", help="Free space where this worker works."),
    Metric(name="millrace_output_bytes_total", kind="counter", help="Bytes of published outputs."),
)


class Metrics:
    """The metrics of one program. A name or label that is not in the table raises KeyError or ValueError at once."""

    def __init__(self, table: tuple[Metric, ...] = METRICS) -> None:
        """Make every metric of the table, so that each is exposed before it first changes."""
        import prometheus_client as prometheus  # noqa: PLC0415  60 ms that a command line does not spend

        self._render = prometheus.generate_latest
        self._registry = prometheus.CollectorRegistry(auto_describe=True)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for row in table:
            if row.kind == "counter":
                self._counters[row.name] = prometheus.Counter(row.name, row.help, row.labels, registry=self._registry)
            elif row.kind == "gauge":
                self._gauges[row.name] = prometheus.Gauge(row.name, row.help, row.labels, registry=self._registry)
            else:
                self._histograms[row.name] = prometheus.Histogram(
                    row.name, row.help, row.labels, registry=self._registry, buckets=row.buckets
                )

    def add(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Raise a counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def set(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def set_all(self, name: str, label: str, values: Mapping[str, float]) -> None:
        """Set a gauge with one label for all its values; those not named disappear."""
        gauge = self._gauges[name]
        gauge.clear()
        for key, value in values.items():
            gauge.labels(**{label: key}).set(value)

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Put a value into a histogram."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    @contextmanager
    def timed(self, name: str, clock: Clock, /, **labels: str) -> Iterator[None]:
        """Put the seconds that the block takes into a histogram, whether it succeeds or fails."""
        began_s = clock.monotonic()
        try:
            yield
        finally:
            self.observe(name, clock.monotonic() - began_s, **labels)

    def render(self) -> bytes:
        """The text that Prometheus scrapes (text exposition format 0.0.4)."""
        return self._render(self._registry)
