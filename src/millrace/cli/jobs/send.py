"""`millrace jobs send`."""

from pathlib import Path

import click

from millrace.cli import show
from millrace.cli.failure import CommandError
from millrace.cli.jobs.sending import send_for
from millrace.cli.options import PATH, Output, Target, job_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.transfers import standing


@click.command()
@job_argument
@click.argument("film", metavar="FILE", type=PATH)
@target_options
@output_option
def send(
    job: str,
    film: Path,
    target: Target,
    output: Output,
) -> None:
    """Send the rest of the film of a job whose upload broke off. FILE is the one that was submitted."""
    with connect(target) as client:
        found = client.do(people.job(job))
        scheme, _, upload = (found.input or "").partition("://")
        if scheme != "upload":
            raise CommandError(f"cannot send {film}: job {found.number} has no upload as its input", code=2)
        view = client.do(standing(upload))
        try:
            size = film.stat().st_size
            if size != view.size:
                raise CommandError(
                    f"cannot send {film}: it has {size} bytes, and the film of job {found.number} has {view.size}; name the one that was submitted",
                    code=2,
                )
            found = send_for(client, film, view, found, quiet=output is Output.JSON)
        except OSError as error:
            raise CommandError(f"cannot upload {film}: {error.strerror}", code=2) from error
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"all of the film of job {found.number} has arrived")
