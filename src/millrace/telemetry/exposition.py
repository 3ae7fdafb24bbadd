"""Metrics as Prometheus reads them (text exposition format 0.0.4)."""

from collections.abc import Iterable, Iterator, Mapping

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


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
