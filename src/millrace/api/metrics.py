"""What `/metrics` says (Prometheus text exposition format 0.0.4).

Written by hand, because the counts of requests are kept where they cost least, and nobody should wait 60 ms for a
library at every start of a master. Names and sentences are those of the one table in `telemetry`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from millrace.domain.tenants import Quota, Tenant
from millrace.edge.tally import BOUNDS_S, Row
from millrace.store.store import ConnectionsUsed
from millrace.telemetry.exposition import head, labels
from millrace.telemetry.metrics import METRICS

_TABLE = {metric.name: metric for metric in METRICS}


def gauge(name: str, values: Mapping[str, float], label: str = "") -> Iterator[str]:
    """A gauge with one label, or (no label) with a single value under the empty key."""
    yield from _head(name)
    for key, value in values.items():
        yield f"{name}{labels({label: key} if label else {})} {value:g}"


def certificate(ends_s: float, failures: int) -> Iterator[str]:
    """What this master shows."""
    for name, value in (
        ("millrace_tls_certificate_expiry_time_seconds", ends_s),
        ("millrace_tls_certificate_failures_total", failures),
    ):
        yield from _head(name)
        yield f"{name} {value:.0f}"


def database(used: ConnectionsUsed | None) -> Iterator[str]:
    """The connections to a database server; nothing of an embedded database."""
    if used is None:
        return
    yield from gauge("millrace_store_connections", {"busy": used.busy, "idle": used.idle}, "state")
    yield from gauge("millrace_store_connections_most", {"": used.most})
    yield from gauge("millrace_store_waiting", {"": used.waiting})
    yield from _head("millrace_store_wait_seconds_total")
    yield f"millrace_store_wait_seconds_total {used.waited_s:.3f}"


def counters(name: str, values: Mapping[str, int], label: str) -> Iterator[str]:
    """A counter with one label."""
    yield from _head(name)
    for key, value in sorted(values.items()):
        yield f"{name}{labels({label: key})} {value}"


def quotas(tenants: Sequence[Tenant]) -> Iterator[str]:
    """Limits of tenants, and their use of what is limited."""
    limited = [
        (tenant, quota) for tenant in tenants for quota in Quota if getattr(tenant.rules.quotas, quota) is not None
    ]
    yield from _head("millrace_tenant_quota_limit")
    for tenant, quota in limited:
        pairs = {"tenant": tenant.name, "quota": quota.value}
        yield f"millrace_tenant_quota_limit{labels(pairs)} {getattr(tenant.rules.quotas, quota)}"
    yield from _head("millrace_tenant_quota_used")
    for tenant, quota in limited:
        pairs = {"tenant": tenant.name, "quota": quota.value}
        yield f"millrace_tenant_quota_used{labels(pairs)} {getattr(tenant.use, quota)}"


def counter(name: str, value: int) -> Iterator[str]:
    """A counter without labels."""
    yield from _head(name)
    yield f"{name} {value}"


def requests(rows: Iterable[Row]) -> Iterator[str]:
    """Counts by route, method and status, and durations by route."""
    rows = list(rows)
    yield from _head("millrace_http_requests_total")
    for row in rows:
        pairs = {"route": row.route, "method": row.method, "status": str(row.status)}
        yield f"millrace_http_requests_total{labels(pairs)} {row.buckets[-1]}"
    yield from _head("millrace_http_request_seconds")
    by_route: dict[str, tuple[list[int], float]] = {}
    for row in rows:
        counts, seconds = by_route.get(row.route, ([0] * len(row.buckets), 0.0))
        by_route[row.route] = [a + b for a, b in zip(counts, row.buckets, strict=True)], seconds + row.seconds
    for route, (counts, seconds) in by_route.items():
        for bound, count in zip([*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"], counts, strict=True):
            yield f"millrace_http_request_seconds_bucket{labels({'route': route, 'le': bound})} {count}"
        yield f"millrace_http_request_seconds_sum{labels({'route': route})} {seconds:.9g}"
        yield f"millrace_http_request_seconds_count{labels({'route': route})} {counts[-1]}"


def _head(name: str) -> Iterator[str]:
    yield from head(_TABLE[name])
