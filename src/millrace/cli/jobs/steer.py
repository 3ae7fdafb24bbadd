"""`millrace jobs cancel`, `pause`, `resume` and `retry`: one shape, four verbs."""

from pathlib import Path

import click

from millrace.cli import show
from millrace.cli.options import Output, job_argument, key_file_option, master_option, output_option
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.calls import Call
from millrace.wire.v1.jobs import JobDetail


def _steer(call: Call[JobDetail], master: str, key_file: Path | None, output: Output) -> None:
    with connect(master, key_file) as client:
        found = client.do(call)
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"job {found.number} is {found.state}")


@click.command()
@job_argument
@master_option
@key_file_option
@output_option
def cancel(
    job: str,
    master: str,
    key_file: Path | None,
    output: Output,
) -> None:
    """End a job; a running engine is stopped and leaves nothing behind."""
    _steer(people.cancel(job), master, key_file, output)


@click.command()
@job_argument
@master_option
@key_file_option
@output_option
def pause(
    job: str,
    master: str,
    key_file: Path | None,
    output: Output,
) -> None:
    """Hold a job; a running engine is frozen and keeps what it has done."""
    _steer(people.pause(job), master, key_file, output)


@click.command()
@job_argument
@master_option
@key_file_option
@output_option
def resume(
    job: str,
    master: str,
    key_file: Path | None,
    output: Output,
) -> None:
    """Let a paused job go on."""
    _steer(people.resume(job), master, key_file, output)


@click.command()
@job_argument
@master_option
@key_file_option
@output_option
def retry(
    job: str,
    master: str,
    key_file: Path | None,
    output: Output,
) -> None:
    """Run a failed, canceled or rejected job again; its history stays."""
    _steer(people.retry(job), master, key_file, output)
