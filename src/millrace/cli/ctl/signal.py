"""`millrace ctl signal`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, known_names, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise


@click.command()
@click.argument("name", metavar="NAME", shell_complete=known_names)
@click.argument("number", metavar="SIGNAL")
@control_options
@output_option
def signal(name: str, number: str, control: Control, output: Output) -> None:
    """Send a signal, such as HUP or 10, to the main process of each instance of NAME."""
    with supervisor(control) as client:
        found = client.do(supervise.signal(name, number))
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"sent {found.signal} to {found.sent} {'process' if found.sent == 1 else 'processes'} of {found.process}")
