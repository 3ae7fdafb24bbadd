"""The parts of a plan that say how it changes while it runs: `global.reload`, `global.control`, `rolling` and `autoscale`."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from millrace.domain.document import shown
from millrace.supervisor.change.values import Autoscale, Changing, Measure, Metric, Reloading, Rolling
from millrace.supervisor.plans.reader import Reader

_MOST = 1000


def reloading_of(settings: Reader) -> Reloading:
    """What stands under `global.reload`."""
    inner = settings.inner("reload")
    found = Reloading(
        timeout_s=inner.duration("timeout", 60.0, 0.1),
        rollback=inner.flag("rollback", True),
        watch=inner.flag("watch", False),
        debounce_s=inner.duration("debounce", 0.5, 0.01, 60.0),
    )
    inner.done()
    return found


def changing_of(settings: Reader) -> Changing:
    """What stands under `global.control.changes`."""
    inner = settings.inner("control")
    found = Changing(inner.word("changes", Changing, Changing.OWNER))
    inner.done()
    return found


def rolling_of(reader: Reader) -> Rolling:
    """What stands under `rolling`."""
    inner = reader.inner("rolling")
    found = Rolling(
        max_unavailable=inner.whole("max_unavailable", 0, _MOST, 1),
        max_surge=inner.whole("max_surge", 0, _MOST, 0),
        min_ready_s=inner.duration("min_ready", 1.0),
        timeout_s=inner.duration("timeout", 60.0, 0.1),
    )
    if not found.max_unavailable and not found.max_surge:
        inner.report(
            "max_unavailable", "is 0, and so is max_surge, so that nothing could be replaced; give 1 to either"
        )
    inner.done()
    return found


def autoscale_of(reader: Reader, *, is_service: bool, most: int) -> Autoscale | None:
    """What stands under `autoscale`; None where the process follows no metric. There are never more instances than `most`."""
    if not reader.has("autoscale"):
        return None
    if not is_service:
        reader.report("autoscale", "is for services, and this one runs to its end; take it out")
    inner = reader.inner("autoscale")
    least = inner.whole("min", 1, most, 1)
    highest = inner.whole("max", 1, most, None)
    if not inner.has("max"):
        inner.report("max", "is missing; give the most instances that may run")
    elif highest is not None and highest < least:
        inner.report("max", f"is {highest}, below min, which is {least}; swap them")
    target = inner.number("target", 1e-9, 1e15, None)
    if target is None:
        inner.report("target", "is missing; give how much of the metric one instance is for")
    found = Autoscale(
        least=least,
        most=max(least, highest or least),
        metric=_metric(inner),
        target=float(target or 1.0),
        measure=Measure(inner.word("measure", Measure, Measure.TOTAL)),
        tolerance=float(inner.number("tolerance", 0.0, 1.0, 0.1)),
        interval_s=inner.duration("interval", 15.0, 0.1),
        cooldown_s=inner.duration("cooldown", 30.0),
        settle_s=inner.duration("scale_down_after", 300.0),
    )
    inner.done()
    return found


def _metric(reader: Reader) -> Metric:
    if not isinstance(reader.raw("metric"), Mapping):
        reader.mapping("metric")
        reader.report("metric", "is missing; give {command: [...]} or {url: http://...}")
        return Metric()
    inner = reader.inner("metric")
    command, url = inner.words("command"), inner.text("url", "", 2000)
    if bool(command) == bool(url):
        inner.report("command", "and url: give one of them")
    if url:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            inner.report("url", f"is {shown(url)}; give one such as http://127.0.0.1:8080/queue")
    found = Metric(
        command=command, url=url, field=inner.text("field", "", 200), timeout_s=inner.duration("timeout", 5.0, 0.01)
    )
    inner.done()
    return found
