"""`millrace tenants list`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.cli.tenants.quotas import used
from millrace.client import people


@click.command()
@target_options
@output_option
def list_tenants(target: Target, output: Output) -> None:
    """List the tenants that were limited, with what they use of each quota."""
    with connect(target) as client:
        found = client.do(people.tenants())
    if output is Output.JSON:
        show.json_document(found)
        return
    show.table(
        ["tenant", "concurrent", "queued", "per day", "storage", "weight", "by default"],
        [
            [
                one.tenant,
                used(one.quotas.concurrent),
                used(one.quotas.queued),
                used(one.quotas.per_day),
                used(one.quotas.storage_bytes, sizes=True),
                str(one.weight),
                "yes" if one.by_default else "no",
            ]
            for one in found.tenants
        ],
        empty="No tenant was limited. `millrace tenants set NAME` changes that.",
        blocks=True,
    )
