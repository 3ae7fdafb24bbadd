"""`millrace webhooks add` and `rotate`: what shows a secret, once."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Span, Target, output_option, target_options, webhook_argument
from millrace.cli.session import connect
from millrace.client import people
from millrace.domain.webhooks import ENDS
from millrace.wire.v1.webhooks import WebhookRequest


@click.command()
@click.argument("url", metavar="URL")
@click.option("--events", help=f"Such as job.completed, separated by commas; * for every change.  [default: {','.join(ENDS)}]")  # fmt: skip
@click.option("--tenant", default="", help="Only jobs of this tenant.")
@target_options
@output_option
def add(url: str, events: str | None, tenant: str, target: Target, output: Output) -> None:
    """Have a URL told of jobs by signed messages. The secret of the signatures is printed this once."""
    names = [name.strip() for name in (events or "").split(",") if name.strip()]
    with connect(target) as client:
        made = client.do(people.create_webhook(WebhookRequest(url=url, events=names, tenant=tenant)))
    show.secret(made.secret, made.webhook, output, f"webhook {made.webhook.id} is told of {', '.join(made.webhook.events)}; keep its secret now, nobody can show it again")  # fmt: skip


@click.command()
@webhook_argument
@click.option("--grace", type=Span(), default="24h", show_default=True, metavar="SPAN", help="For how long messages carry the signature of the secret before, too.")  # fmt: skip
@target_options
@output_option
def rotate(webhook: str, grace: float, target: Target, output: Output) -> None:
    """Give a webhook another secret. For a while its messages carry two signatures, so that the receiver may change over."""
    with connect(target) as client:
        made = client.do(people.rotate_webhook(webhook, grace_s=grace))
    until = made.webhook.old_until
    old = (
        f"messages carry both signatures until {until:%Y-%m-%d %H:%M} UTC"
        if until
        else "the one before signs nothing now"
    )
    show.secret(made.secret, made.webhook, output, f"webhook {made.webhook.id} has another secret; {old}")
