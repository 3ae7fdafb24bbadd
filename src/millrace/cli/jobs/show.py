"""`millrace jobs show`."""

import click

from millrace.cli.options import Output, Target, job_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.cli.show import job_record
from millrace.client import people


@click.command()
@job_argument
@target_options
@output_option
def show(
    job: str,
    target: Target,
    output: Output,
) -> None:
    """Show a job: state, progress, attempts, outputs, and why it failed."""
    with connect(target) as client:
        found = client.do(people.job(job))
    job_record(found, output)
