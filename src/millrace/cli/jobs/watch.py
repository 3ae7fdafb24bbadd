"""`millrace jobs watch`."""

from typing import Annotated

import typer

from millrace.cli import show
from millrace.cli.options import DEFAULT_MASTER, JobArgument, KeyFileOption, MasterOption, Output, OutputOption
from millrace.cli.progress import Bars
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.client import Client
from millrace.domain.states import FINAL
from millrace.wire.v1.jobs import JobDetail

_POLL_S = 0.5


def watch(
    job: JobArgument,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Draw nothing.")] = False,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Follow a job to its end; exit 0 if it completed, 1 if not."""
    with connect(master, key_file) as client:
        found = follow(client, job, quiet=quiet or output is Output.JSON)
    show.job_record(found, output)
    if found.state != "completed":
        raise typer.Exit(1)


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
