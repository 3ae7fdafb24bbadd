"""Metrics as Prometheus reads them (text exposition format 0.0.4)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from millrace.telemetry.metrics import Metric

MEDIA = "text/plain; version=0.0.4; charset=utf-8"


def head(metric: Metric) -> Iterator[str]:
    """The two lines before the values of a metric."""
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"


def labels(pairs: Mapping[str, str]) -> str:
    """Labels in braces; nothing where there are none."""
    if not pairs:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items()) + "}"


def family(metric: Metric, values: Iterable[tuple[tuple[str, ...], float]]) -> Iterator[str]:
    """A metric with its values, each under the values of its labels in their order."""
    yield from head(metric)
    for key, value in values:
        yield f"{metric.name}{labels(dict(zip(metric.labels, key, strict=True)))} {value:.15g}"


def histogram(
    metric: Metric, bounds: Sequence[float], values: Iterable[tuple[tuple[str, ...], Sequence[int], float]]
) -> Iterator[str]:
    """A histogram. Each value has the counts of its buckets (not cumulative, the last without a bound) and the sum."""
    yield from head(metric)
    for key, counts, total in values:
        named = dict(zip(metric.labels, key, strict=True))
        for bound, count in zip((*(f"{bound:g}" for bound in bounds), "+Inf"), accumulate(counts), strict=True):
            yield f"{metric.name}_bucket{labels({**named, 'le': bound})} {count}"
        yield f"{metric.name}_sum{labels(named)} {total:.15g}"
        yield f"{metric.name}_count{labels(named)} {sum(counts)}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
