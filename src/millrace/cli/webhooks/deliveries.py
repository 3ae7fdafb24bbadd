"""`millrace webhooks deliveries`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, Word, output_option, target_options, webhook_argument
from millrace.cli.session import connect
from millrace.client import people
from millrace.domain.webhooks import DeliveryState


@click.command()
@webhook_argument
@click.option("--state", type=Word(DeliveryState), help="Only messages in this state.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at the most.")
@click.option("--cursor", help="Where the page before ended.")
@target_options
@output_option
def deliveries(
    webhook: str, state: DeliveryState | None, limit: int, cursor: str | None, target: Target, output: Output
) -> None:
    """Show what a URL was told, newest first, and what it answered."""
    with connect(target) as client:
        page = client.do(people.deliveries(webhook, state=state, cursor=cursor, limit=limit))
    if output is Output.JSON:
        show.json_document(page)
        return
    show.table(
        ["message", "job", "event", "state", "attempts", "ended", "next attempt", "result"],
        [
            [
                one.id,
                str(one.number),
                one.event,
                show.styled(one.state),
                str(one.attempts),
                show.moment(one.ended),
                show.moment(one.due),
                show.escape(one.result),
            ]
            for one in page.deliveries
        ],
        empty="It was told nothing yet.",
        blocks=True,
    )
    if page.next:
        print(f"\nMore: --cursor {page.next}")
