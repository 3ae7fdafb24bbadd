"""`millrace profiles`: one file per command."""

import typer

from millrace.cli.profiles.check import check
from millrace.cli.profiles.list import list_profiles
from millrace.cli.profiles.show import show

app = typer.Typer(no_args_is_help=True, help="Look at the profiles that come with Millrace, and check your own.")
app.command("list")(list_profiles)
app.command("show")(show)
app.command("check")(check)
