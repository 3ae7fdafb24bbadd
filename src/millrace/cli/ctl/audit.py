"""`millrace ctl audit`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, known_names, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise


@click.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=known_names)
@click.option("--caller", help="Only what this one did: the name of a key, uid:N, or `certificate SUBJECT`.")
@click.option("--lines", "-n", "limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="So many.")
@control_options
@output_option
def audit(name: str | None, caller: str | None, limit: int, control: Control, output: Output) -> None:
    """Show who changed what, or was turned away; of all, or of process NAME. As JSON, also what was before and after."""
    with supervisor(control) as client:
        found = client.do(supervise.audit(caller=caller, process=name, limit=limit))
    if output is Output.JSON:
        show.json_document(found)
        return
    rows = [
        (
            show.moment(one.at), show.escape(one.caller or "a stranger"), one.role, show.escape(one.client),
            show.escape(f"{one.method} {one.path}"), str(one.status), show.escape(one.detail),
        )
        for one in found.entries
    ]  # fmt: skip
    show.table(
        ("at", "who", "role", "from", "what", "answer", "why not"), rows, empty="nobody has changed anything yet"
    )
