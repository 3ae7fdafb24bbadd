"""`millrace ctl changes` and `save`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise


@click.command()
@control_options
@output_option
def changes(control: Control, output: Output) -> None:
    """Show which processes were added, changed and removed by add, set and remove, or over the API, and whether it is saved."""
    with supervisor(control) as client:
        found = client.do(supervise.config())
    if output is Output.JSON:
        show.json_document(found)
        return
    rows = [(one.name, one.change, "yes" if one.saved else "no") for one in found.changed]
    show.table(("process", "is", "saved"), rows, empty=f"everything is as {found.plan} says")


@click.command()
@control_options
@output_option
def save(control: Control, output: Output) -> None:
    """Save what was added, changed and removed, in a file beside the plan that is read after it; the plan stays as it is.

    Variables are saved as they were written, never with their values.
    """
    with supervisor(control) as client:
        found = client.do(supervise.save())
    if output is Output.JSON:
        show.json_document(found)
    elif found.processes:
        click.echo(f"saved in {found.saved_in}: {', '.join(found.processes)}")
    else:
        click.echo("there is nothing to save: everything is as the plan says")
