"""`millrace nodes show`."""

from datetime import datetime

import click

from millrace.cli import show as shown
from millrace.cli.options import Output, Target, node_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people


@click.command()
@node_argument
@target_options
@output_option
def show(
    node: str,
    target: Target,
    output: Output,
) -> None:
    """Show a machine: what it offers, and for each encoder that does not work, why."""
    with connect(target) as client:
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
            ("sandbox", shown.escape(_sandbox(found.facts.get("sandbox")))),
            ("registered", shown.moment(datetime.fromisoformat(found.registered))),
            ("last seen", shown.moment(datetime.fromisoformat(found.seen))),
        ]
    )
    print()
    shown.table(
        ["encoder", "works"],
        [[name, shown.escape(reason) or "[green]yes[/green]"] for name, reason in sorted(found.encoders.items())],
        empty="It has proven no encoder.",
    )


def _sandbox(record: object) -> str:
    """What the node says of how it shuts engines in."""
    if not isinstance(record, dict):
        return "unknown"
    parts = [f"{record.get('mechanism')}: {', '.join(record.get('in_force', ())) or 'nothing is in force'}"]
    missing = ", ".join(record.get("missing", ()))
    return "; ".join([*parts, f"not in force: {missing}"] if missing else parts)
