"""`millrace tenants show`."""

import click

from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.cli.tenants.quotas import record
from millrace.client import people


@click.command("show")
@click.argument("tenant", metavar="TENANT")
@target_options
@output_option
def view(tenant: str, target: Target, output: Output) -> None:
    """Show a tenant: its quotas, what it uses, and the places that it may name. A tenant's own key sees that one."""
    with connect(target) as client:
        record(client.do(people.tenant(tenant)), output)
