"""`millrace schedules list`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import many


@click.command()
@target_options
@output_option
def list_schedules(target: Target, output: Output) -> None:
    """List schedules, by tenant and name, and when each comes due next."""
    with connect(target) as client:
        found = client.do(many.schedules())
    if output is Output.JSON:
        show.json_document(found)
        return
    show.table(
        ["name", "cron", "zone", "due", "last job", "tenant"],
        [
            [
                show.escape(one.name),
                show.escape(one.cron),
                one.zone,
                show.moment(one.due) or "paused",
                "" if one.last_job is None else f"{one.last_job} {show.styled(one.last_state or 'gone')}",
                one.tenant,
            ]
            for one in found.schedules
        ],
        empty="There are no schedules. `millrace schedules add` makes one.",
        blocks=True,
    )
