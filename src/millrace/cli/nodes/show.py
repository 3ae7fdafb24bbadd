"""`millrace nodes show`."""

from pathlib import Path

import click

from millrace.cli import show as shown
from millrace.cli.options import Output, key_file_option, master_option, node_argument, output_option
from millrace.cli.session import connect
from millrace.client import people


@click.command()
@node_argument
@master_option
@key_file_option
@output_option
def show(
    node: str,
    master: str,
    key_file: Path | None,
    output: Output,
) -> None:
    """Show a machine: what it offers, and for each encoder that does not work, why."""
    with connect(master, key_file) as client:
        found = client.do(people.node(node))
    if output is Output.JSON:
        shown.json_document(found)
        return
    shown.lines(
        [
            ("node", f"{shown.escape(found.name)}  [dim]{found.id}[/dim]"),
            ("state", shown.styled(found.state)),
            ("tasks", f"{found.holding} of {found.slots} slots"),
            ("labels", shown.escape(", ".join(f"{key}={value}" for key, value in found.labels.items()))),
            ("engines", ", ".join(found.engines)),
            ("memory", f"{found.memory_mb} MB"),
            ("registered", found.registered),
            ("last seen", found.seen),
        ]
    )
    print()
    shown.table(
        ["encoder", "works"],
        [[name, shown.escape(reason) or "[green]yes[/green]"] for name, reason in sorted(found.encoders.items())],
        empty="It has proven no encoder.",
    )
