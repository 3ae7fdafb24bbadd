"""`millrace schedules show`."""

import click

from millrace.cli import show as shown
from millrace.cli.options import Output, Target, output_option, schedule_argument, target_options
from millrace.cli.session import connect
from millrace.client import many


@click.command()
@schedule_argument
@target_options
@output_option
def show(schedule: str, target: Target, output: Output) -> None:
    """Show a schedule, by name or id, with its last runs."""
    with connect(target) as client:
        found = client.do(many.schedule(schedule))
    if output is Output.JSON:
        shown.json_document(found)
        return
    shown.lines(
        [
            ("schedule", f"{shown.escape(found.name)}  [dim]{found.id}[/dim]"),
            ("cron", f"{shown.escape(found.cron)}  {found.zone}"),
            ("due", shown.moment(found.due) or "paused"),
            ("overlap", found.overlap),
            ("missed", found.missed),
            ("tenant", found.tenant),
            ("created", shown.moment(found.created)),
            *(
                (f"job.{name}", shown.escape(str(value)))
                for name, value in found.job.items()
                if name != "tenant" and value
            ),
        ]
    )
    print()
    shown.table(
        ["due", "outcome", "job", "by", "why"],
        [
            [
                shown.moment(run.due),
                run.outcome,
                "" if run.job is None else f"{run.job} {shown.styled(run.state or 'gone')}",
                shown.escape(run.actor),
                shown.escape(run.reason),
            ]
            for run in found.runs
        ],
        empty="No time has come yet.",
        blocks=True,
    )
