"""`millrace tenants remove`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people


@click.command()
@click.argument("tenant", metavar="TENANT")
@target_options
@output_option
def remove(tenant: str, target: Target, output: Output) -> None:
    """Forget what was said of a tenant; its jobs stay. It has the limits of the masters' settings again, if there are any."""
    with connect(target) as client:
        client.do(people.remove_tenant(tenant))
    if output is Output.JSON:
        show.json_document({"removed": tenant})
    else:
        print(f"tenant {tenant} is limited by the settings alone")
