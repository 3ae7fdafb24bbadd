"""`millrace jobs logs`."""

import sys
from typing import Annotated

import typer

from millrace.cli.options import DEFAULT_MASTER, JobArgument, KeyFileOption, MasterOption
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.client import Client
from millrace.domain.states import FINAL

_POLL_S = 0.5


def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    attempt: Annotated[int | None, typer.Option(help="Only this attempt; without it, all of them.", min=1)] = None,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
) -> None:
    """Print the engine's log of a job, of every attempt, as it is or as it grows."""
    with connect(master, key_file) as client:
        offset = _print_from(client, job, 0, attempt)
        while follow:
            ended = client.do(people.job(job)).state in FINAL
            offset = _print_from(client, job, offset, attempt)
            if ended:
                return
            client.pause(_POLL_S)


def _print_from(client: Client, job: str, offset: int, attempt: int | None) -> int:
    text = client.do(people.logs(job, offset=offset, attempt=attempt))
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    return offset + len(text)
