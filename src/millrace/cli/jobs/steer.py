"""`millrace jobs cancel`, `pause`, `resume` and `retry`: one shape, four verbs."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, job_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.calls import Call
from millrace.wire.v1.jobs import JobDetail


def _steer(call: Call[JobDetail], target: Target, output: Output) -> None:
    with connect(target) as client:
        found = client.do(call)
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"job {found.number} is {found.state}")


@click.command()
@job_argument
@target_options
@output_option
def cancel(
    job: str,
    target: Target,
    output: Output,
) -> None:
    """End a job; a running engine is stopped and leaves nothing behind."""
    _steer(people.cancel(job), target, output)


@click.command()
@job_argument
@target_options
@output_option
def pause(
    job: str,
    target: Target,
    output: Output,
) -> None:
    """Hold a job; a running engine is frozen and keeps what it has done."""
    _steer(people.pause(job), target, output)


@click.command()
@job_argument
@target_options
@output_option
def resume(
    job: str,
    target: Target,
    output: Output,
) -> None:
    """Let a paused job go on."""
    _steer(people.resume(job), target, output)


@click.command()
@job_argument
@target_options
@output_option
def retry(
    job: str,
    target: Target,
    output: Output,
) -> None:
    """Run a failed, canceled or rejected job again; its history stays."""
    _steer(people.retry(job), target, output)
