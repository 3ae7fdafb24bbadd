"""`millrace jobs cancel`, `pause`, `resume` and `retry`: one shape, four verbs."""

import click
from msgspec.structs import replace

from millrace.cli import show
from millrace.cli.options import Output, Target, failure_class_option, job_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.calls import Call
from millrace.domain.failures import FailureClass
from millrace.wire.v1.jobs import JobDetail, RetryManyRequest


def _steer(call: Call[JobDetail], target: Target, output: Output) -> None:
    with connect(target) as client:
        found = client.do(call)
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"job {found.number} is {found.state}")


@click.command()
@job_argument
@target_options
@output_option
def cancel(
    job: str,
    target: Target,
    output: Output,
) -> None:
    """End a job; a running engine is stopped and leaves nothing behind."""
    _steer(people.cancel(job), target, output)


@click.command()
@job_argument
@target_options
@output_option
def pause(
    job: str,
    target: Target,
    output: Output,
) -> None:
    """Hold a job; a running engine is frozen and keeps what it has done."""
    _steer(people.pause(job), target, output)


@click.command()
@job_argument
@target_options
@output_option
def resume(
    job: str,
    target: Target,
    output: Output,
) -> None:
    """Let a paused job go on."""
    _steer(people.resume(job), target, output)


@click.command()
@click.argument("job", metavar="[JOB]", required=False)
@click.option("--dead", is_flag=True, help="All jobs that `millrace jobs dead` lists.")
@failure_class_option
@click.option("--tenant", help="With --dead: only jobs of this tenant.")
@target_options
@output_option
def retry(
    job: str | None,
    dead: bool,
    failure_class: tuple[FailureClass, ...],
    tenant: str | None,
    target: Target,
    output: Output,
) -> None:
    """Run a failed, canceled or rejected job again, or all that are dead; their history stays."""
    if dead == (job is not None):
        raise click.UsageError("name a job, or give --dead for all that are dead")
    if job is not None:
        if failure_class or tenant:
            raise click.UsageError("--failure-class and --tenant go with --dead")
        _steer(people.retry(job), target, output)
        return
    retried: list[int] = []
    request = RetryManyRequest(failure_class=list(failure_class), tenant=tenant)
    with connect(target) as client:
        while True:
            page = client.do(people.retry_dead(request))
            retried += page.retried
            if page.next is None:
                break
            request = replace(request, before=page.next)
    if output is Output.JSON:
        show.json_document({"retried": retried})
    else:
        print(f"{len(retried)} jobs run again")
