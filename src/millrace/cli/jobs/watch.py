"""`millrace jobs watch`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, job_argument, output_option, target_options
from millrace.cli.progress import Bars
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.client import Client
from millrace.domain.states import FINAL
from millrace.wire.v1.jobs import JobDetail

_POLL_S = 0.5


@click.command()
@job_argument
@click.option("--quiet", "-q", is_flag=True, help="Draw nothing.")
@target_options
@output_option
def watch(
    job: str,
    quiet: bool,
    target: Target,
    output: Output,
) -> int:
    """Follow a job to its end; exit 0 if it completed, 1 if not."""
    with connect(target) as client:
        found = follow(client, job, quiet=quiet or output is Output.JSON)
    show.job_record(found, output)
    if found.state != "completed":
        return 1
    return 0


def follow(client: Client, ref: str, *, quiet: bool, poll_s: float = _POLL_S) -> JobDetail:
    """The job as it ended, with bars drawn until then."""
    found = client.do(people.job(ref))
    with Bars(enabled=not quiet) as bars:
        while found.state not in FINAL:
            bars.update(found)
            client.pause(poll_s)
            found = client.do(people.job(ref))
        bars.update(found)
    return found
