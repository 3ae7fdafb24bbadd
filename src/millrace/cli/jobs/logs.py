"""`millrace jobs logs`."""

import sys

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, job_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.client import Client
from millrace.domain.states import FINAL

_POLL_S = 0.5


@click.command()
@job_argument
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended.")
@click.option("--attempt", type=click.IntRange(min=1), help="Only this attempt; without it, all of them.")
@target_options
@output_option
def logs(
    job: str,
    follow: bool,
    attempt: int | None,
    target: Target,
    output: Output,
) -> None:
    """Print the engine's log of a job, of every attempt, as it is or as it grows.

    As JSON it is one document, printed once the log is whole: with --follow, at the job's end.
    """
    with connect(target) as client:
        if output is Output.JSON:
            while follow and client.do(people.job(job)).state not in FINAL:
                client.pause(_POLL_S)
            text = client.do(people.logs(job, attempt=attempt))
            show.json_document({"job": job, "log": text.decode(errors="replace")})
            return
        offset = _print_from(client, job, 0, attempt)
        while follow:
            ended = client.do(people.job(job)).state in FINAL
            offset = _print_from(client, job, offset, attempt)
            if ended:
                return
            client.pause(_POLL_S)


def _print_from(client: Client, job: str, offset: int, attempt: int | None) -> int:
    text = client.do(people.logs(job, offset=offset, attempt=attempt))
    if sys.stdout.isatty():
        # An engine prints what stands in a film, such as its title.
        sys.stdout.write(show.harmless(text.decode(errors="replace"), keep="\n\r\t"))
        sys.stdout.flush()
    else:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    return offset + len(text)
