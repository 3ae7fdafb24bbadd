"""`millrace nodes list`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people


@click.command()
@target_options
@output_option
def list_nodes(
    target: Target,
    output: Output,
) -> None:
    """List the machines of the farm."""
    with connect(target) as client:
        found = client.do(people.nodes())
    if output is Output.JSON:
        show.json_document(found)
        return
    quarantined = any(node.quarantine for node in found.nodes)
    show.table(
        ["name", "state", "tasks", "slots", "encoders", "labels", *(["why"] if quarantined else [])],
        [
            [
                show.escape(node.name),
                show.styled(node.state),
                str(node.holding),
                str(node.slots),
                ", ".join(sorted(name for name, reason in node.encoders.items() if not reason)),
                show.escape(", ".join(f"{key}={value}" for key, value in node.labels.items())),
                *([show.escape(node.quarantine.reason) if node.quarantine else ""] if quarantined else []),
            ]
            for node in found.nodes
        ],
        empty="No worker has registered yet. Start one with `millrace worker --master URL`.",
    )
