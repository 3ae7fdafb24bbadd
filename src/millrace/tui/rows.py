"""What the tables show: rows from what was seen, filtered and sorted. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from millrace.tui.seen import Seen
from millrace.tui.words import clock, percent, plain, size, span
from millrace.wire.v1.supervise import InstanceView, JobRunView, ProcessView, RunView, UsageView

STYLES: Mapping[str, str] = {
    "running": "green", "completed": "green", "failed": "bold red", "backing-off": "yellow", "waiting": "yellow",
    "starting": "yellow", "stopping": "yellow", "cleaning": "yellow", "stopped": "dim", "scheduled": "cyan",
    "executing": "green", "paused": "yellow", "idle": "cyan",
}  # fmt: skip
"""Colours of the states; the word itself says as much where there are none."""
_URGENCY = tuple(
    "failed backing-off stopping cleaning waiting starting running scheduled completed stopped".split()  # noqa: SIM905  a row of words
)
RIGHT = frozenset(
    {"PID", "CPU", "MEMORY", "UPTIME", "RESTARTS", "EXIT", "READY", "RUNS", "FAILURES", "RUN", "TOOK", "SUCCESS"}
)
"""The columns of numbers."""


class Row(Struct, frozen=True):
    """One row; `key` tells it from others for as long as it is there. `state` gives it its colour."""

    key: str
    state: str
    cells: tuple[str, ...]


Key = Callable[[Seen, ProcessView], tuple[float, str] | tuple[str, str]]


def _total(usages: Sequence[UsageView], of: Callable[[UsageView], float | None]) -> float | None:
    values = [value for usage in usages if (value := of(usage)) is not None]
    return sum(values) if values else None


def cpu(usages: Sequence[UsageView]) -> float | None:
    """Percent of one CPU, of all together."""
    return _total(usages, lambda usage: usage.cpu_percent)


def memory(usages: Sequence[UsageView]) -> float | None:
    """Bytes of all together: of shared pages each has its part where that can be seen (PSS), else all (RSS)."""
    return _total(usages, lambda usage: usage.rss_bytes if usage.pss_bytes is None else usage.pss_bytes)


def _uptime(process: ProcessView) -> float | None:
    """The oldest of the instances."""
    return max((one.uptime_s for one in process.instances if one.uptime_s is not None), default=None)


def restarts(process: ProcessView) -> int:
    """Of all instances."""
    return sum(one.restarts for one in process.instances)


SORTS: Mapping[str, Key] = {
    "name": lambda _, one: (one.name, ""),
    "state": lambda _, one: (_URGENCY.index(one.state), one.name),
    "cpu": lambda seen, one: (-(cpu(seen.usages(one)) or 0.0), one.name),
    "memory": lambda seen, one: (-(memory(seen.usages(one)) or 0.0), one.name),
    "uptime": lambda _, one: (-(_uptime(one) or 0.0), one.name),
    "restarts": lambda _, one: (-restarts(one), one.name),
}
"""What the processes can be sorted by: what needs attention, and what is largest, comes first."""

PROCESS_HEAD = ("NAME", "STATE", "READY", "PID", "CPU", "MEMORY", "UPTIME", "RESTARTS", "TYPE", "REASON")
ONESHOT_HEAD = ("NAME", "STATE", "STARTED", "EXIT", "ENDED", "REASON")
JOB_HEAD = ("NAME", "SCHEDULE", "STATE", "LAST RUN", "NEXT RUN", "EXIT", "RUNS", "SUCCESS", "REASON")
RUN_HEAD = ("RUN", "INSTANCE", "BY", "BEGAN", "TOOK", "OUTCOME", "EXIT", "HOW")
END_HEAD = ("INSTANCE", "BEGAN", "TOOK", "EXIT", "HOW")
INSTANCE_HEAD = ("INSTANCE", "STATE", "READY", "PID", "CPU", "MEMORY", "UPTIME", "RESTARTS", "FAILURES")


def chosen(seen: Seen, *, words: str = "", sort: str = "name", back: bool = False) -> list[ProcessView]:
    """The processes in whose name, type or state every one of the words occurs, sorted; `back` turns the order round."""
    asked = words.lower().split()
    found = [
        one
        for one in seen.processes.values()
        if all(word in f"{one.name} {one.type} {one.state}".lower() for word in asked)
    ]
    return sorted(found, key=lambda one: SORTS[sort](seen, one), reverse=back)


def process_row(seen: Seen, process: ProcessView) -> Row:
    """A process of any type."""
    usages = seen.usages(process)
    cells = (
        plain(process.name),
        process.state,
        f"{process.ready}/{process.desired}" if process.type == "service" else "-",
        _pids(process.instances),
        percent(cpu(usages)),
        size(memory(usages)),
        span(_uptime(process)),
        str(restarts(process)),
        process.type,
        reason(process),
    )
    return Row(process.name, process.state, cells)


def _pids(instances: Iterable[InstanceView]) -> str:
    pids = [one.pid for one in instances if one.pid is not None]
    return "-" if not pids else str(pids[0]) if len(pids) == 1 else f"{len(pids)} pids"


def reason(process: ProcessView) -> str:
    """Why it is in its state."""
    found = dict.fromkeys(one.reason for one in process.instances if one.state == process.state and one.reason)
    return plain("; ".join(found))


def oneshot_row(_seen: Seen, process: ProcessView) -> Row:
    """A process that runs once."""
    instance = process.instances[0] if process.instances else None
    code, at = ended(instance)
    return Row(
        process.name,
        process.state,
        (
            plain(process.name),
            process.state,
            clock(instance.started if instance else None),
            code,
            clock(at),
            reason(process),
        ),
    )


def job_row(seen: Seen, process: ProcessView) -> Row:
    """A scheduled process."""
    known = seen.schedules.get(process.name)
    if known is None:
        return Row(process.name, process.state, (plain(process.name), "-", process.state, *["-"] * 5, reason(process)))
    last, runs = known.last_run, sum(known.counts.values())
    cells = (
        plain(process.name),
        known.expression,
        known.state if len(known.current) < 2 else f"{len(known.current)} {known.state}",
        clock(last.began if last is not None else None),
        clock(None if known.paused else known.next_run),
        "-" if last is None or last.code is None else str(last.code),
        str(runs),
        f"{100 * known.counts.get('succeeded', 0) / runs:.0f}%" if runs else "-",
        reason(process),
    )
    return Row(process.name, known.state, cells)


def run_row(run: JobRunView) -> Row:
    """A run of a scheduled process."""
    cells = (
        str(run.number),
        plain(run.instance),
        run.by,
        clock(run.began or run.due),
        span(run.seconds),
        run.outcome or "goes on",
        "-" if run.code is None else str(run.code),
        plain(run.how),
    )
    return Row(str(run.number), "", cells)


def end_row(number: int, run: RunView) -> Row:
    """A process that ran and ended; `number` tells it from others."""
    code = str(run.code) if run.code is not None else run.signal or "?"
    return Row(str(number), "", (plain(run.instance), clock(run.began), span(run.seconds), code, plain(run.how)))


def ended(instance: InstanceView | None) -> tuple[str, datetime | None]:
    """How it ended the last time, as an exit code or the name of a signal, and when."""
    end = instance.last_end if instance is not None else None
    if end is None:
        return "-", None
    return (str(end.code) if end.code is not None else end.signal or "?"), end.at


def instance_row(seen: Seen, instance: InstanceView) -> Row:
    """One instance of a process."""
    usages = [seen.usage[instance.id]] if instance.id in seen.usage else []
    cells = (
        plain(instance.id),
        instance.state,
        "yes" if instance.ready else "no",
        str(instance.pid or "-"),
        percent(cpu(usages)),
        size(memory(usages)),
        span(instance.uptime_s),
        str(instance.restarts),
        str(instance.failures),
    )
    return Row(instance.id, instance.state, cells)
