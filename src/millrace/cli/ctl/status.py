"""`millrace ctl status`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, known_names, supervisor
from millrace.cli.ctl.table import status_lines
from millrace.cli.options import Output, output_option
from millrace.client import supervise


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=known_names)
@control_options
@output_option
def status(names: tuple[str, ...], control: Control, output: Output) -> None:
    """Show the processes, or those that are named: state, readiness, pid, uptime, restarts, and why."""
    with supervisor(control) as client:
        if names:
            found = [client.do(supervise.process(name)) for name in names]
            document: object = {"processes": found}
        else:
            everything = client.do(supervise.processes())
            found, document = everything.processes, everything
    if output is Output.JSON:
        show.json_document(document)
        return
    for line in status_lines(found, width=show.width()):
        click.echo(line)
