"""`millrace webhooks list`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people


@click.command()
@target_options
@output_option
def list_webhooks(target: Target, output: Output) -> None:
    """List the webhooks, and how many messages wait or were given up."""
    with connect(target) as client:
        found = client.do(people.webhooks())
    if output is Output.JSON:
        show.json_document(found)
        return
    show.table(
        ["webhook", "url", "events", "tenant", "pending", "dead", "disabled"],
        [
            [
                one.id,
                show.escape(one.url),
                ", ".join(one.events),
                one.tenant or "(all)",
                str(one.pending),
                str(one.dead),
                show.escape(one.disabled_why),
            ]
            for one in found.webhooks
        ],
        empty="Nobody is told of jobs. `millrace webhooks add URL` changes that.",
        blocks=True,
    )
