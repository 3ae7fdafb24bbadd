"""`millrace jobs dead`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, failure_class_option, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.domain.failures import FailureClass


@click.command()
@failure_class_option
@click.option("--tenant", help="Only jobs of this tenant.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at the most.")
@click.option("--cursor", help="Where the page before ended.")
@target_options
@output_option
def dead(
    failure_class: tuple[FailureClass, ...],
    tenant: str | None,
    limit: int,
    cursor: str | None,
    target: Target,
    output: Output,
) -> None:
    """List jobs that failed for good although another attempt might have worked: those whose attempts are all spent.

    `millrace jobs retry --dead` runs them again.
    """
    only = {"dead": "true", "tenant": tenant}
    with connect(target) as client:
        page = client.do(people.jobs(only=only, failure_classes=failure_class, cursor=cursor, limit=limit))
    if output is Output.JSON:
        show.json_document(page)
        return
    show.table(
        ["#", "class", "attempts", "failed", "profile", "input", "why"],
        [
            [
                str(job.number),
                job.failure.failure_class if job.failure else "",
                str(job.attempt_count),
                show.moment(job.finished),
                show.escape(job.profile),
                show.escape(job.input or "(generated)"),
                show.escape(job.failure.message if job.failure else ""),
            ]
            for job in page.jobs
        ],
        empty="No job is dead.",
        blocks=True,
    )
    if page.next:
        print(f"\nMore: --cursor {page.next}")
