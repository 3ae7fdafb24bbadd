"""What commands print: tables and records for people, one JSON document for programs."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from millrace.cli.options import Output
from millrace.wire.v1.jobs import JobDetail, JobView

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
    "lost": "red",
}


def json_document(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def styled(state: str) -> str:
    """The state in the colour that it has everywhere."""
    style = _STYLES.get(state)
    return f"[{style}]{state}[/{style}]" if style else state


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print rows under headings; where there are none, say so."""
    from rich.console import Console  # noqa: PLC0415  rich takes as long to import as some commands take in all
    from rich.table import Table  # noqa: PLC0415

    # A pipe has no width; what it is given must not be wrapped to that of some terminal.
    console = Console(width=None if sys.stdout.isatty() else UNWRAPPED)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, justify="right" if column in {"#", "%", "size", "slots", "tasks"} else "left")
    for row in rows:
        shown.add_row(*row)
    if shown.row_count:
        console.print(shown)
    else:
        console.print(empty)


def lines(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, aligned; pairs without a value are left out."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(soft_wrap=True)
    kept = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        console.print(f"[bold]{name:<{width}}[/bold]  {value}")


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


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


def age(since: datetime) -> str:
    """How long ago that was."""
    return span((datetime.now(UTC) - since).total_seconds())


def percent(job: JobView) -> str:
    """How far a job has come; nothing for one that does not run."""
    if job.state == "completed":
        return "100"
    return f"{100 * job.progress.fraction:.0f}" if job.state in {"assigned", "processing", "paused"} else ""


def escape(text: str) -> str:
    """Text from elsewhere, so that nothing in it is taken for markup."""
    from rich.markup import escape as rich_escape  # noqa: PLC0415

    return rich_escape(text)


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
            ("started", moment(job.started)),
            ("finished", moment(job.finished)),
            ("service level", f"{'kept' if job.sla.compliant else 'missed'} ({job.sla.reason})" if job.sla else ""),
        ]
    )
    if job.attempts:
        print()
        table(
            ["attempt", "node", "claimed", "ended", "outcome", "why"],
            [
                [
                    str(attempt.attempt),
                    escape(attempt.node_name),
                    moment(attempt.claimed),
                    moment(attempt.ended),
                    attempt.outcome or "running",
                    escape(attempt.failure.message) if attempt.failure else "",
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
