"""What commands print: tables and records for people, one JSON document for programs."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from millrace.cli.options import Output
from millrace.domain.sla import UNCOUNTED
from millrace.wire.v1.jobs import JobDetail, JobView, SlaView

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

UNWRAPPED = 400

_STYLES = {
    "completed": "green",
    "failed": "red",
    "rejected": "red",
    "canceled": "dim",
    "processing": "cyan",
    "assigned": "cyan",
    "paused": "yellow",
    "retrying": "yellow",
    "ready": "green",
    "draining": "yellow",
    "quarantined": "red",
    "lost": "red",
    "delivered": "green",
    "dead": "red",
}


def json_document(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def secret(text: str, about: object, output: Output, sentence: str) -> None:
    """A secret alone on stdout, so that it can go into a file; what there is to say of it, on stderr."""
    if output is Output.JSON:
        json_document({"secret": text, **msgspec.to_builtins(about)})
        return
    print(text)
    sys.stderr.write(sentence + "\n")


def styled(state: str) -> str:
    """The state in the colour that it has everywhere."""
    style = _STYLES.get(state)
    return f"[{style}]{state}[/{style}]" if style else state


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str, blocks: bool = False) -> None:
    """Print rows under headings; where there are none, say so.

    `blocks`: on a terminal that is too narrow for the whole table, each row becomes some lines of its own.
    """
    from rich.table import Table  # noqa: PLC0415  rich takes as long to import as some commands take in all

    console = _console()
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, justify="right" if column in {"#", "%", "size", "slots", "tasks"} else "left")
    kept = [tuple(row) for row in rows]
    for row in kept:
        shown.add_row(*row)
    if not kept:
        console.print(empty)
    elif blocks and _natural_width(console, shown) > console.width:
        for row in kept:
            _block(console, columns, row)
    else:
        console.print(shown)


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415  see `table`

    # A pipe has no width; what it is given must not be wrapped to that of some terminal.
    return Console(width=None if sys.stdout.isatty() else UNWRAPPED)


def _natural_width(console: "Console", shown: "Table") -> int:
    """How wide a terminal must be for every cell of the table to stand on one line."""
    from rich.measure import Measurement  # noqa: PLC0415  see `table`

    return Measurement.get(console, console.options.update(width=UNWRAPPED), shown).maximum


def _block(console: "Console", columns: Sequence[str], row: Sequence[str]) -> None:
    """A row as its first cell, and below it the others, each with its heading, as many on a line as fit."""
    from rich.text import Text  # noqa: PLC0415  see `table`

    if row[0]:
        console.print(Text.from_markup(f"[bold]{row[0]}[/bold]"), soft_wrap=True)
    line = Text()
    for column, cell in zip(columns[1:], row[1:], strict=True):
        pair = Text.from_markup(f"  {column} {cell}")
        if cell and line and line.cell_len + pair.cell_len > console.width:
            console.print(line, soft_wrap=True)
            line = Text()
        if cell:
            line += pair
    console.print(line, soft_wrap=True)


def sentences(text: str, last: str = "") -> None:
    """Print text, on a terminal wrapped between its words; `last`, such as a path, stays in one piece."""
    if not sys.stdout.isatty():
        print(" ".join(part for part in (text, last) if part))
        return
    width = _console().width
    wrapped = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    if last and wrapped and len(wrapped[-1]) + 1 + len(last) <= width:
        wrapped[-1] += f" {last}"
    elif last:
        wrapped.append(last)
    print("\n".join(wrapped))


def lines(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, aligned; pairs without a value are left out."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(soft_wrap=True)
    kept = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        console.print(f"[bold]{name:<{width}}[/bold]  {value}")


def paragraphs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and texts; a text that is longer than its line goes on below itself. Those without one are left out."""
    from rich.table import Table  # noqa: PLC0415  see `table`

    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, text in pairs:
        if text:
            shown.add_row(name, text)
    _console().print(shown)


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def width() -> int | None:
    """The columns of the terminal, or of COLUMNS; None for a pipe, which has no width."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS"):
        return None
    return shutil.get_terminal_size().columns


def moment(value: datetime | None) -> str:
    """A moment in the time zone of the machine."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S") if value else ""


def span(seconds: float) -> str:
    """A length of time as people read it."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def span_or_dash(seconds: float | None) -> str:
    """A length of time, where there is one."""
    return "-" if seconds is None else span(seconds)


def age(since: datetime) -> str:
    """How long ago that was."""
    return span((datetime.now(UTC) - since).total_seconds())


def percent(job: JobView) -> str:
    """How far a job has come; nothing for one that does not run."""
    if job.state == "completed":
        return "100"
    return f"{100 * job.progress.fraction:.0f}" if job.state in {"assigned", "processing", "paused"} else ""


def escape(text: str) -> str:
    """Text from elsewhere, so that nothing in it is taken for markup, or does something to the terminal."""
    from rich.markup import escape as rich_escape  # noqa: PLC0415

    return rich_escape(harmless(text))


def harmless(text: str, *, keep: str = "") -> str:
    """Text from elsewhere with its control characters spelled: they could clear a screen, set a title, or turn what is read
    from right to left. `keep` are those that may stay.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )


def service_level(sla: SlaView | None) -> str:
    """Whether the farm kept its promise, and if not, or only by the letter, why."""
    if sla is None:
        return ""
    if sla.reason == UNCOUNTED:
        return "does not count"
    why = "" if sla.reason == "compliant" else f": {sla.reason.replace('_', ' ')}"
    return ("kept" if sla.compliant else "missed") + why


def job_record(job: JobDetail, output: Output) -> None:
    """Print one job with all that is known of it."""
    if output is Output.JSON:
        json_document(job)
        return
    failure = job.failure
    lines(
        [
            ("job", f"{job.number}  [dim]{job.id}[/dim]"),
            ("state", styled(job.state) + (f"  {percent(job)} %" if percent(job) else "")),
            ("failure", f"[red]{failure.failure_class}[/red]: {escape(failure.message)}" if failure else ""),
            ("profile", escape(job.profile)),
            ("input", escape(job.input or "a generated test clip")),
            ("output", escape(job.output or "kept by the master")),
            ("order", f"{job.queue}, {job.priority} priority"),
            ("labels", escape(", ".join(f"{key}={value}" for key, value in job.labels.items()))),
            ("created", moment(job.created)),
            ("run after", moment(job.run_after)),
            (
                "upload",
                f"{100 * job.upload.arrived // job.upload.size} % of {job.upload.size / 1e6:,.1f} MB"
                if job.upload
                else "",
            ),
            ("started", moment(job.started)),
            ("finished", moment(job.finished)),
            ("service level", service_level(job.sla)),
        ]
    )
    if job.held_back:
        print()
        sentences(job.held_back)
    divided = len(job.tasks) > 1
    if divided:
        print()
        table(
            ["task", "makes", "state", "node", "attempt", "frames", "done"],
            [
                [
                    task.task.rpartition(".")[2],
                    task.kind + (f" (hedges {task.hedges.rpartition('.')[2]})" if task.hedges else ""),
                    styled(task.state),
                    escape(task.node_name or ""),
                    str(task.attempt or ""),
                    str(task.frames or ""),
                    f"{100 * task.progress.fraction:.0f} %",
                ]
                for task in job.tasks
            ],
            empty="",
        )
    if job.attempts:
        print()
        table(
            [*(["task"] if divided else []), "attempt", "node", "claimed", "ended", "outcome", "why"],
            [
                [
                    *([attempt.task.rpartition(".")[2]] if divided else []),
                    str(attempt.attempt),
                    escape(attempt.node_name),
                    moment(attempt.claimed),
                    moment(attempt.ended),
                    attempt.outcome or "running",
                    escape(attempt.failure.message if attempt.failure else attempt.reason),
                ]
                for attempt in job.attempts
            ],
            empty="",
        )
    if job.outputs:
        print()
        table(
            ["size", "output"],
            [[size(output.size), escape(output.path or output.url or output.name)] for output in job.outputs],
            empty="",
        )
