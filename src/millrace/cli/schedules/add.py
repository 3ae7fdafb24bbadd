"""`millrace schedules add`."""

import click

from millrace.cli import show
from millrace.cli.failure import CommandError
from millrace.cli.jobs.request import Wish, absolute, request_of, wish_options
from millrace.cli.options import Output, Target, Word, output_option, target_options
from millrace.cli.session import connect
from millrace.client import many
from millrace.domain.schedules import Missed, Overlap
from millrace.wire.v1.schedules import ScheduleRequest


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("source", metavar="[INPUT]", required=False)
@click.option("--cron", required=True, metavar="EXPRESSION", help="When: five fields such as '30 3 * * *', or @daily.")
@click.option("--zone", default="UTC", show_default=True, help="In which time zone, such as Europe/Berlin.")
@click.option(
    "--overlap",
    type=Word(Overlap),
    default=Overlap.FORBID.value,
    show_default=True,
    help="While the last job has not ended: skip the time, run the job beside the other, or in its place.",
)
@click.option(
    "--missed",
    type=Word(Missed),
    default=Missed.ONCE.value,
    show_default=True,
    help="Of times that came while no master was there: one late job, or none.",
)
@click.option("--paused", is_flag=True, help="Let no time come until it is resumed.")
@click.option("--to", "destination", help="Folder or s3:// prefix for the output; without it the master keeps it.")
@wish_options
@target_options
@output_option
def add(
    name: str,
    source: str | None,
    cron: str,
    zone: str,
    overlap: Overlap,
    missed: Missed,
    paused: bool,
    destination: str | None,
    wish: Wish,
    target: Target,
    output: Output,
) -> None:
    """Submit a job whenever a cron expression comes due. In INPUT and --to, {due} stands for that time: 2026-03-29T0300."""
    if not name:
        raise CommandError("cannot make a schedule without a name", code=2)
    job = request_of(wish | {"input": absolute(source), "output": absolute(destination)}, what="make the schedule")
    request = ScheduleRequest(name=name, cron=cron, zone=zone, job=job, overlap=overlap, missed=missed, paused=paused)
    with connect(target) as client:
        made = client.do(many.create_schedule(request))
    if output is Output.JSON:
        show.json_document(made)
    else:
        print(f"schedule {made.name} " + (f"comes due at {show.moment(made.due)}" if made.due else "is paused"))
