"""`millrace jobs logs`."""

import sys
from collections.abc import Iterator

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, job_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.client import Client
from millrace.domain.records import Outcome
from millrace.domain.states import FINAL
from millrace.wire.v1.jobs import AttemptView, JobDetail, TaskStanding

_POLL_S = 0.5


@click.command()
@job_argument
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended.")
@click.option("--task", type=click.IntRange(min=1), help="Only this task of a divided job; `jobs show` numbers them.")
@click.option("--attempt", type=click.IntRange(min=1), help="Only this attempt; without it, all of them.")
@target_options
@output_option
def logs(
    job: str,
    follow: bool,
    task: int | None,
    attempt: int | None,
    target: Target,
    output: Output,
) -> None:
    """Print the engine's log of a job, of every attempt, as it is or as it grows.

    Of a divided job, a line tells which task the following lines are from. As JSON it is one document, printed once the log is whole:
    with --follow, at the job's end.
    """
    with connect(target) as client:
        log = _Log(client, job, task, attempt)
        found = client.do(people.job(job))
        if not follow:
            log.check(found)
        while follow and found.state not in FINAL:
            if output is not Output.JSON:
                _print(log.new(found))
            client.pause(_POLL_S)
            found = client.do(people.job(job))
        rest = log.new(found)
        if output is Output.JSON:
            show.json_document({"job": job, "log": b"".join(rest).decode(errors="replace")})
        else:
            _print(rest)


def _print(pieces: Iterator[bytes]) -> None:
    for text in pieces:
        if sys.stdout.isatty():
            # An engine prints what stands in a film, such as its title.
            sys.stdout.write(show.harmless(text.decode(errors="replace"), keep="\n\r\t"))
        else:
            sys.stdout.buffer.write(text)
        sys.stdout.flush()


class _Log:
    """The logs of the attempts of a job, each read from where it was left: several grow at once where parts run side by side."""

    def __init__(self, client: Client, job: str, task: int | None, attempt: int | None) -> None:
        """`task` and `attempt` are those that are wanted; None for all."""
        self._client = client
        self._job = job
        self._wanted = (task, attempt)
        self._read: dict[tuple[int, int], int] = {}
        self._whole: set[tuple[int, int]] = set()
        self._last = 0

    def check(self, found: JobDetail) -> None:
        """Pass, or raise the master's refusal where there is nothing of what is wanted."""
        if self._wanted != (None, None) and not any(self._is_wanted(one) for one in found.attempts):
            task, attempt = self._wanted
            self._client.do(people.logs(self._job, task=task, attempt=attempt))

    def new(self, found: JobDetail) -> Iterator[bytes]:
        """What was added since the last time, in whole lines as long as an attempt runs."""
        kinds = {_place(task.task): task for task in found.tasks}
        for attempt in found.attempts:
            key = (_place(attempt.task), attempt.attempt)
            if key in self._whole or not self._is_wanted(attempt):
                continue
            offset = self._read.get(key, 0)
            text = self._client.do(people.logs(self._job, task=key[0], attempt=key[1], offset=offset))
            if attempt.outcome is None:
                text = text[: text.rfind(b"\n") + 1]
            elif (
                attempt.outcome is not Outcome.SPLIT or found.state in FINAL
            ):  # a worker's last words come after it has divided its job
                self._whole.add(key)
            if text and len(kinds) > 1 and self._last != key[0]:
                yield _heading(kinds[key[0]], attempt).encode()
            if text:
                self._last = key[0]
                self._read[key] = offset + len(text)
                yield text

    def _is_wanted(self, attempt: AttemptView) -> bool:
        task, number = self._wanted
        return task in (None, _place(attempt.task)) and number in (None, attempt.attempt)


def _place(task: str) -> int:
    return int(task.rpartition(".")[2])


def _heading(task: TaskStanding, attempt: AttemptView) -> str:
    which = f" {task.number}" if task.kind == "chunk" else ""
    return f"==> task {_place(task.task)} ({task.kind}{which}) on {attempt.node_name} <==\n"
