"""How far a job has come, in two lines that fit the terminal. On a pipe or a dumb terminal, one line for each phase."""

import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from millrace.wire.v1.jobs import ArrivingView, JobDetail

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.live import Live

LABEL_WIDTH = 14
"""Columns of `job 7 assigned`: with as many for every state, the bar stays where it is."""
LONGEST_BAR = 32
SHORTEST_BAR = 4
"""A shorter one says nothing that the percentage does not."""
ETA_WIDTH = len("ETA 1:00:00")
REDRAWS_PER_S = 4


class Bars:
    """Draws a job until it ends. rich is imported with the first drawing, when the engine is at work already."""

    def __init__(self, *, enabled: bool) -> None:
        """`enabled`: draw at all."""
        self._enabled = enabled
        self._live: Live | None = None
        self._said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, job: JobDetail) -> None:
        """Draw how far the job has come."""
        if not self._enabled:
            return
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            self._say(job)
            return
        if self._live is None:
            self._live = _begin()
        self._live.update(Picture(job))

    def _say(self, job: JobDetail) -> None:
        text = f"job {job.number}: {job.state}" + (f", {job.progress.phase}" if job.progress.phase else "")
        if job.upload is not None:  # a line for each tenth of it
            text += f", upload {_percent(job.upload) // 10 * 10} %"
        if text != self._said:
            self._said = text
            sys.stderr.write(text + "\n")


def _begin() -> "Live":
    from rich.console import Console  # noqa: PLC0415  see the class
    from rich.live import Live  # noqa: PLC0415

    live = Live(console=Console(stderr=True), transient=True, refresh_per_second=REDRAWS_PER_S)
    live.start()
    return live


class Picture:
    """The job with its bar and the time left, and below it what its attempt does; at every drawing as wide as the terminal."""

    def __init__(self, job: JobDetail) -> None:
        """`job` as it is now."""
        self._job = job

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.progress_bar import ProgressBar  # noqa: PLC0415  see above
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        job, width = self._job, options.max_width
        done = 1.0 if job.state == "completed" else job.progress.fraction
        label = (f"job {job.number}" + (f" {job.state}" if job.state != "processing" else "")).ljust(LABEL_WIDTH)
        end = f"{100 * done:>3.0f} %" + (f" ETA {_clock(job.progress.eta_s)}" if job.progress.eta_s is not None else "")
        spare = width - len(label) - len(f" 100 % {'':{ETA_WIDTH}} ")
        if spare < LONGEST_BAR:  # where there is little room, none is left empty
            spare += len(label) - len(label.rstrip())
            label = label.rstrip()
        line = Table.grid(padding=(0, 1, 0, 0))
        cells: list[RenderableType] = [Text(label), Text(end)]
        if spare >= SHORTEST_BAR:
            cells.insert(1, ProgressBar(total=1.0, completed=done, width=min(spare, LONGEST_BAR)))
        for _ in cells:
            line.add_column(no_wrap=True)
        line.add_row(*cells)
        yield line
        if text := _that_fit(_facts(job), width):
            yield Text(text, style="dim", no_wrap=True, overflow="ellipsis")


def _facts(job: JobDetail) -> Sequence[str]:
    """What the running attempt does, the most telling first, and how much of its upload has arrived; nothing while none runs."""
    upload = "" if job.upload is None else f"upload {_percent(job.upload)} %"
    nodes = {one.node_name for one in job.attempts if one.outcome is None}
    if not nodes:
        return (upload,) if upload else ()
    now = job.progress
    facts = (
        upload,
        now.phase or "waiting",
        f"{now.fps:.0f} fps" if now.fps else "",
        f"{now.speed:.2f}x" if now.speed else "",
        f"on {nodes.pop()}" if len(nodes) == 1 else f"on {len(nodes)} workers",
    )
    return [fact for fact in facts if fact]


def _percent(upload: ArrivingView) -> int:
    return 100 * upload.arrived // upload.size


def _that_fit(facts: Sequence[str], width: int) -> str:
    """As many of the facts as a line holds, and always the first."""
    line = "".join(f"  {fact}" for fact in facts[:1])
    for fact in facts[1:]:
        if len(line) + 2 + len(fact) > width:
            break
        line += f"  {fact}"
    return line


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
