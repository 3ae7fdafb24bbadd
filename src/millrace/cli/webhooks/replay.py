"""`millrace webhooks replay`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, target_options, webhook_argument
from millrace.cli.session import connect
from millrace.client import people


@click.command()
@webhook_argument
@click.argument("message", metavar="[MESSAGE]", required=False)
@click.option("--dead", is_flag=True, help="All messages that were given up.")
@target_options
@output_option
def replay(webhook: str, message: str | None, dead: bool, target: Target, output: Output) -> None:
    """Send a message again, or all that were given up. It keeps its id, so that a receiver knows it again."""
    if dead == (message is not None):
        raise click.UsageError("name a message, or give --dead for all that were given up")
    with connect(target) as client:
        found = client.do(people.replay(webhook, message))
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"{found.replayed} {'message is' if found.replayed == 1 else 'messages are'} sent again")
