"""`millrace nodes`: one file per command."""

import typer

from millrace.cli.nodes.list import list_nodes
from millrace.cli.nodes.show import show
from millrace.cli.nodes.steer import drain, remove, resume

app = typer.Typer(no_args_is_help=True, help="Look at the machines of the farm, and take them in and out of work.")
app.command("list")(list_nodes)
app.command("show")(show)
app.command("drain")(drain)
app.command("resume")(resume)
app.command("remove")(remove)
