"""`millrace jobs list`."""

from typing import Annotated

import typer

from millrace.cli import show
from millrace.cli.options import DEFAULT_MASTER, KeyFileOption, MasterOption, Output, OutputOption
from millrace.cli.session import connect
from millrace.client import people
from millrace.domain.order import Priority, Queue
from millrace.domain.states import State


def list_jobs(
    state: Annotated[list[State] | None, typer.Option(help="Only jobs in this state; repeatable.")] = None,
    queue: Annotated[Queue | None, typer.Option(help="Only jobs of this queue.")] = None,
    priority: Annotated[Priority | None, typer.Option(help="Only jobs of this priority.")] = None,
    profile: Annotated[str | None, typer.Option(help="Only jobs with this profile.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only jobs of this tenant.")] = None,
    limit: Annotated[int, typer.Option(help="How many at the most.", min=1, max=500)] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List jobs, newest first."""
    only = {"queue": queue, "priority": priority, "profile": profile, "tenant": tenant}
    with connect(master, key_file) as client:
        page = client.do(people.jobs(states=state or (), only=only, cursor=cursor, limit=limit))
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
