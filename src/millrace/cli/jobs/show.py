"""`millrace jobs show`."""

from millrace.cli.options import DEFAULT_MASTER, JobArgument, KeyFileOption, MasterOption, Output, OutputOption
from millrace.cli.session import connect
from millrace.cli.show import job_record
from millrace.client import people


def show(
    job: JobArgument,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a job: state, progress, attempts, outputs, and why it failed."""
    with connect(master, key_file) as client:
        found = client.do(people.job(job))
    job_record(found, output)
