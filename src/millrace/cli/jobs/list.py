"""`millrace jobs list`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, Word, failure_class_option, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.domain.failures import FailureClass
from millrace.domain.order import Priority, Queue
from millrace.domain.states import State


@click.command()
@click.option("--state", type=Word(State), multiple=True, help="Only jobs in this state; repeatable.")
@click.option("--queue", type=Word(Queue), help="Only jobs of this queue.")
@click.option("--priority", type=Word(Priority), help="Only jobs of this priority.")
@click.option("--profile", help="Only jobs with this profile.")
@click.option("--tenant", help="Only jobs of this tenant.")
@failure_class_option
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at the most.")
@click.option("--cursor", help="Where the page before ended.")
@target_options
@output_option
def list_jobs(
    state: tuple[State, ...],
    queue: Queue | None,
    priority: Priority | None,
    profile: str | None,
    tenant: str | None,
    failure_class: tuple[FailureClass, ...],
    limit: int,
    cursor: str | None,
    target: Target,
    output: Output,
) -> None:
    """List jobs, newest first."""
    only = {"queue": queue, "priority": priority, "profile": profile, "tenant": tenant}
    with connect(target) as client:
        page = client.do(
            people.jobs(states=state, only=only, failure_classes=failure_class, cursor=cursor, limit=limit)
        )
    if output is Output.JSON:
        show.json_document(page)
        return
    show.table(
        ["#", "state", "%", "queue", "priority", "profile", "age", "input"],
        [
            [
                str(job.number),
                show.styled(job.state),
                show.percent(job),
                job.queue,
                job.priority,
                show.escape(job.profile),
                show.age(job.created),
                show.escape(job.input or "(generated)"),
            ]
            for job in page.jobs
        ],
        empty="There are no such jobs. `millrace jobs submit` makes one.",
    )
    if page.next:
        print(f"\nMore: --cursor {page.next}")
