"""What `/metrics` says: made anew from what is there, so that nothing of what has gone is left. Pure."""

from collections.abc import Iterator, Mapping

from millrace.supervisor.facts import Facts, LastEnd
from millrace.supervisor.plan import Plan
from millrace.supervisor.state import Id, Phase, State
from millrace.telemetry.exposition import family
from millrace.telemetry.metrics import SUPERVISOR_METRICS

_TABLE = {metric.name.removeprefix("millrace_supervisor_"): metric for metric in SUPERVISOR_METRICS}
_UP = frozenset({Phase.RUNNING, Phase.STOPPING})

Series = list[tuple[tuple[str, ...], float]]


def exposition(plan: Plan, state: State, facts: Mapping[Id, Facts]) -> str:
    """Everything, in the text format of Prometheus."""
    each: dict[str, Series] = {name: [] for name in _TABLE}
    running = dict.fromkeys(sorted(plan.processes), 0)
    for ident, instance in sorted(state.instances.items()):
        key, known = (ident.process, str(ident)), facts.get(ident, Facts())
        up = instance.phase in _UP and known.pid is not None
        if ident.process in running:
            running[ident.process] += up
        each["process_up"].append((key, up))
        each["process_ready"].append((key, instance.ready))
        each["process_restarts_total"].append((key, instance.restarts))
        each["process_failures"].append((key, instance.failures))
        if up and known.started is not None:
            each["process_start_time_seconds"].append((key, known.started.timestamp()))
        if known.last_end is not None and (code := _code(known.last_end)) is not None:
            each["process_last_exit_code"].append((key, code))
    each["desired_scale"] = [((name,), state.wanted.get(name, 0)) for name in running]
    each["current_scale"] = [((name,), count) for name, count in running.items()]
    return "\n".join([*_lines(each), ""])


def _lines(each: Mapping[str, Series]) -> Iterator[str]:
    for name, series in each.items():
        yield from family(_TABLE[name], series)


def _code(end: LastEnd) -> int | None:
    if end.code is not None:
        return end.code
    return None if end.signal is None else 128 + end.signal
