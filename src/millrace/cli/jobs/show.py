"""`millrace jobs show`."""

from pathlib import Path

import click

from millrace.cli.options import Output, job_argument, key_file_option, master_option, output_option
from millrace.cli.session import connect
from millrace.cli.show import job_record
from millrace.client import people


@click.command()
@job_argument
@master_option
@key_file_option
@output_option
def show(
    job: str,
    master: str,
    key_file: Path | None,
    output: Output,
) -> None:
    """Show a job: state, progress, attempts, outputs, and why it failed."""
    with connect(master, key_file) as client:
        found = client.do(people.job(job))
    job_record(found, output)
