"""`millrace keys list`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people


@click.command()
@click.option("--ended", is_flag=True, help="Also those that were revoked or have expired.")
@target_options
@output_option
def list_keys(ended: bool, target: Target, output: Output) -> None:
    """List the API keys, and when each was used. The key in the data folder, an admin's, is not among them."""
    with connect(target) as client:
        found = client.do(people.keys(ended=ended))
    if output is Output.JSON:
        show.json_document(found)
        return
    show.table(
        ["name", "role", "tenant", "begins", "created", "used", "expires", *(["revoked"] if ended else [])],
        [
            [
                show.escape(key.name),
                key.role,
                key.tenant or "(all)",
                f"{key.hint}...",
                show.moment(key.created),
                show.moment(key.used) if key.used else "never",
                show.moment(key.expires) if key.expires else "never",
                *([show.moment(key.revoked)] if ended else []),
            ]
            for key in found.keys
        ],
        empty="There are no such keys beside the one in the data folder. `millrace keys create` makes one.",
    )
