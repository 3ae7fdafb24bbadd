"""`millrace batches list`."""

import click

from millrace.cli import show
from millrace.cli.batches.watch import BAD
from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import many


@click.command()
@click.option("--tenant", help="Only batches of this tenant.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at the most.")
@click.option("--cursor", help="Where the page before ended.")
@target_options
@output_option
def list_batches(tenant: str | None, limit: int, cursor: str | None, target: Target, output: Output) -> None:
    """List batches, newest first."""
    with connect(target) as client:
        page = client.do(many.batches(tenant=tenant, cursor=cursor, limit=limit))
    if output is Output.JSON:
        show.json_document(page)
        return
    show.table(
        ["batch", "name", "jobs", "%", "failed", "tenant", "age"],
        [
            [
                one.id,
                show.escape(one.name),
                str(one.total),
                f"{100 * one.fraction:.0f}",
                str(sum(one.counts.get(state, 0) for state in BAD)),
                one.tenant,
                show.age(one.created),
            ]
            for one in page.batches
        ],
        empty="There are no batches. `millrace jobs submit --folder DIR` makes one.",
    )
    if page.next:
        print(f"\nMore: --cursor {page.next}")
