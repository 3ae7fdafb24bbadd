"""Bars on the terminal: one for the job, one for each task that runs. On a pipe or a dumb terminal, one line for each phase."""

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from millrace.wire.v1.jobs import JobDetail

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """Draws a job until it ends. rich is imported with the first drawing, when the engine is at work already."""

    def __init__(self, *, enabled: bool) -> None:
        """`enabled`: draw at all."""
        self._enabled = enabled
        self._progress: Progress | None = None
        self._job: TaskID | None = None
        self._tasks: dict[int, TaskID] = {}
        self._said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, job: JobDetail) -> None:
        """Draw how far the job has come."""
        if not self._enabled:
            return
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            self._say(job)
            return
        progress = self._progress or self._begin(job)
        done = 1.0 if job.state == "completed" else job.progress.fraction
        label = f"job {job.number}" + (f" {job.state}" if job.state != "processing" else "")
        if self._job is not None:
            progress.update(self._job, completed=done, description=label, detail="")
        self._update_attempt(progress, job, done)

    def _begin(self, job: JobDetail) -> "Progress":
        from rich.console import Console  # noqa: PLC0415  see the class
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        self._progress = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("[dim]{task.fields[detail]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._progress.start()
        self._job = self._progress.add_task(f"job {job.number}", total=1.0, detail="")
        return self._progress

    def _update_attempt(self, progress: "Progress", job: JobDetail, done: float) -> None:
        if not job.attempts:
            return
        attempt = job.attempts[-1]
        if attempt.outcome is not None:
            if (task := self._tasks.pop(attempt.attempt, None)) is not None:
                progress.remove_task(task)
            return
        if attempt.attempt not in self._tasks:
            self._tasks[attempt.attempt] = progress.add_task("", total=1.0, detail="")
        now = job.progress
        facts = [
            f"{now.fps:.0f} fps" if now.fps else "",
            f"{now.speed:.2f}x" if now.speed else "",
            f"ETA {_clock(now.eta_s)}" if now.eta_s is not None else "",
            f"on {attempt.node_name}",
        ]
        progress.update(
            self._tasks[attempt.attempt],
            completed=done,
            description=f"  {now.phase or 'waiting'}",
            detail="  ".join(fact for fact in facts if fact),
        )

    def _say(self, job: JobDetail) -> None:
        text = f"job {job.number}: {job.state}" + (f", {job.progress.phase}" if job.progress.phase else "")
        if text != self._said:
            self._said = text
            sys.stderr.write(text + "\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
