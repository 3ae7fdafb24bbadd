"""`millrace batches show`."""

import click

from millrace.cli import show as shown
from millrace.cli.options import Output, Target, batch_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import many
from millrace.wire.v1.batches import BatchDetail


@click.command()
@batch_argument
@target_options
@output_option
def show(batch: str, target: Target, output: Output) -> None:
    """Show a batch: how far it is, and what failed of it."""
    with connect(target) as client:
        found = client.do(many.batch(batch))
    record(found, output)


def record(batch: BatchDetail, output: Output) -> None:
    """Print a batch with what failed of it."""
    if output is Output.JSON:
        shown.json_document(batch)
        return
    shown.lines(
        [
            ("batch", f"{batch.id}  {shown.escape(batch.name)}"),
            ("jobs", f"{batch.total}, of which {batch.ended} have ended"),
            ("done", f"{100 * batch.fraction:.0f} %"),
            ("states", ", ".join(f"{count} {shown.styled(state)}" for state, count in batch.counts.items())),
            ("tenant", batch.tenant),
            ("created", shown.moment(batch.created)),
        ]
    )
    if batch.failed:
        print()
        shown.table(
            ["#", "state", "input", "why"],
            [
                [
                    str(one.number),
                    shown.styled(one.state),
                    shown.escape(one.input or "(generated)"),
                    shown.escape(one.failure.message if one.failure else ""),
                ]
                for one in batch.failed
            ],
            empty="",
            blocks=True,
        )
