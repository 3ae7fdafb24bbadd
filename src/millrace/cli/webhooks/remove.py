"""`millrace webhooks remove`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, target_options, webhook_argument
from millrace.cli.session import connect
from millrace.client import people


@click.command()
@webhook_argument
@target_options
@output_option
def remove(webhook: str, target: Target, output: Output) -> None:
    """Forget a webhook with its log; what waits for it is not sent."""
    with connect(target) as client:
        client.do(people.remove_webhook(webhook))
    if output is Output.JSON:
        show.json_document({"removed": webhook})
    else:
        print(f"webhook {webhook} is removed")
