"""The table of `millrace ctl status`, as lines that fit a width. Pure."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

import click

from millrace.cli.show import span
from millrace.wire.v1.supervise import InstanceView, ProcessView

_HEAD = ("NAME", "STATE", "READY", "PID", "UPTIME", "RESTARTS", "REASON")
_RIGHT = frozenset({3, 4, 5})
_GAP = "  "
_COLOURS = {
    "running": "green", "completed": "green", "failed": "red", "backing-off": "yellow", "waiting": "yellow",
    "stopping": "yellow",
}  # fmt: skip


def status_lines(processes: Iterable[ProcessView], *, width: int | None) -> Iterator[str]:
    """A line for each instance; where a reason does not fit beside it, it follows below. `width` None: as wide as it gets."""
    rows = [row for process in processes for row in _rows(process)]
    widths = [max(len(row[column]) for row in (_HEAD, *rows)) for column in range(len(_HEAD) - 1)]
    room = None if width is None else width - sum(widths) - len(_GAP) * len(widths)
    beside = room is None or all(len(row[-1]) <= room for row in rows)
    shown = any(row[-1] for row in rows)
    yield _line(_HEAD, widths, reason=_HEAD[-1] if beside and shown else "")
    for row in rows:
        yield _line(row, widths, reason=row[-1] if beside else "")
        if not beside and width is not None:
            yield from textwrap.wrap(row[-1], width, initial_indent="    ", subsequent_indent="    ")


def _rows(process: ProcessView) -> Sequence[tuple[str, ...]]:
    if not process.instances:
        return [(process.name, process.state, "-", "-", "-", "0", "")]
    return [_row(instance) for instance in process.instances]


def _row(instance: InstanceView) -> tuple[str, ...]:
    return (
        instance.id,
        instance.state,
        "yes" if instance.ready else "no",
        str(instance.pid or "-"),
        "-" if instance.uptime_s is None else span(instance.uptime_s),
        str(instance.restarts),
        " ".join((instance.reason or instance.status).split()),  # what is wrong comes before what it says of itself
    )


def _line(row: Sequence[str], widths: Sequence[int], *, reason: str) -> str:
    cells = [
        cell.rjust(width) if index in _RIGHT else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    if (colour := _COLOURS.get(row[1])) is not None:
        cells[1] = click.style(cells[1], fg=colour)
    return _GAP.join([*cells, reason]).rstrip()
