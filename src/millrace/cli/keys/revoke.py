"""`millrace keys revoke`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people


@click.command()
@click.argument("key", metavar="KEY")
@target_options
@output_option
def revoke(key: str, target: Target, output: Output) -> None:
    """End an API key, named or by id, for good. It opens nothing any more, on other masters after two seconds."""
    with connect(target) as client:
        found = client.do(people.revoke_key(key))
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"key {found.name} is revoked")
