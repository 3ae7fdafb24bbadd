"""`millrace ctl hooks`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, known_names, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise


@click.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=known_names)
@click.option("--lines", "-n", "limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="So many.")
@control_options
@output_option
def hooks(name: str | None, limit: int, control: Control, output: Output) -> None:
    """Show the last hooks that ran, of the whole and of all processes, or of NAME."""
    with supervisor(control) as client:
        found = client.do(supervise.hooks(process=name, limit=limit))
    if output is Output.JSON:
        show.json_document(found)
        return
    rows = [
        (
            one.instance or "(all)", one.moment, show.escape(one.hook), str(one.attempt), show.moment(one.began),
            show.span_or_dash(one.seconds), show.escape(one.fault or "worked"),
        )
        for one in found.hooks
    ]  # fmt: skip
    show.table(("of", "when", "hook", "try", "began", "took", "outcome"), rows, empty="no hook has run yet")
