"""`millrace jobs submit`."""

import sys
from datetime import datetime
from pathlib import Path

import click
import msgspec

from millrace.cli import show
from millrace.cli.failure import CommandError
from millrace.cli.jobs.request import Wish, absolute, check_key, request_of, wish_options
from millrace.cli.jobs.sending import EARLY_BYTES, submit_early
from millrace.cli.options import PATH, Output, Target, output_option, pattern_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.client import Client
from millrace.client.transfers import upload as send
from millrace.wire.v1.jobs import JobDetail, JobRequest


@click.command()
@click.argument("source", metavar="[INPUT]", required=False)
@click.option("--to", "destination", help="Folder or s3:// prefix for the output; without it the master keeps it.")
@click.option("--upload", is_flag=True, help="Send the file INPUT of this machine to the master.")
@wish_options
@click.option("--run-after", type=click.DateTime(), help="Not before this moment (local time).")
@click.option("--after", multiple=True, metavar="JOB", help="Only once this job has completed; repeatable.")
@click.option("--after-any-end", is_flag=True, help="With --after: however those jobs end.")
@click.option("--folder", type=PATH, help="Submit every film of this folder, as one batch.")
@pattern_option
@click.option("--csv", "table", type=PATH, help="Submit every row of this CSV file, as one batch.")
@click.option("--name", default="", help="With --folder or --csv: what to call the batch.")
@click.option(
    "--skip-bad", is_flag=True, help="With --folder or --csv: leave out what is wrong, and submit the others."
)
@click.option("--idempotency-key", "key", help="Repeating it gives the same job, or batch.")
@click.option("--wait", is_flag=True, help="Follow the job, or batch, to its end; exit 1 if it fails.")
@target_options
@output_option
def submit(
    source: str | None,
    destination: str | None,
    upload: bool,
    wish: Wish,
    run_after: datetime | None,
    after: tuple[str, ...],
    after_any_end: bool,
    folder: Path | None,
    pattern: tuple[str, ...],
    table: Path | None,
    name: str,
    skip_bad: bool,
    key: str | None,
    wait: bool,
    target: Target,
    output: Output,
) -> int:
    """Submit a job, or many, and print what became of it.

    INPUT is a path as the workers see it, or an http(s)://, s3:// or upload:// URL; without it a test clip is made. With --folder or
    --csv there is one job for each film or row: all are accepted, or none.
    """
    check_key(key)
    wish |= {
        "output": absolute(destination),
        "run_after": run_after.astimezone() if run_after else None,
        "after": list(after),
        "after_any_end": after_any_end,
    }
    if folder is not None or table is not None:
        if source is not None or upload or (folder is not None and table is not None):
            raise click.UsageError("give one of INPUT, --folder and --csv; --upload goes with INPUT")
        from millrace.cli.batches.submit import submit_batch  # noqa: PLC0415  most submit one job

        return submit_batch(
            wish, folder, pattern, table, name=name, skip_bad=skip_bad, key=key, wait=wait, target=target, output=output
        )
    if pattern or name or skip_bad:
        raise click.UsageError("--pattern, --name and --skip-bad go with --folder or --csv")
    request = request_of(wish | {"input": source if upload else absolute(source)})
    if upload and source is None:
        raise CommandError("cannot upload: name the file", code=2)
    with connect(target) as client:
        if upload:
            job = _sent(client, Path(source or ""), request, key=key, quiet=output is Output.JSON)
        else:
            job = client.do(people.submit(request, key=key))
        if wait:
            from millrace.cli.jobs.watch import follow  # noqa: PLC0415  only --wait draws

            job = follow(client, job.id, quiet=output is Output.JSON)
    if output is Output.JSON:
        show.json_document(job)
    else:
        _say(job)
    if job.failure is not None:
        sys.stderr.write(f"{job.failure.message}\n")
    return 1 if job.state in {"failed", "rejected", "canceled"} else 0


def _say(job: JobDetail) -> None:
    print(f"job {job.number} is {job.state} ({job.id})", flush=True)


def _sent(client: Client, path: Path, request: JobRequest, *, key: str | None, quiet: bool) -> JobDetail:
    """Submit a film of this machine: while it is sent where it is large, afterwards where it is small or does not hurry."""
    try:
        if path.stat().st_size > EARLY_BYTES and not (request.after or request.run_after):
            return submit_early(client, path, request, key=key, said=_nothing if quiet else _say, quiet=quiet)
        request = msgspec.structs.replace(request, input=f"upload://{send(client, path).id}")
        return client.do(people.submit(request, key=key))
    except OSError as error:
        raise CommandError(f"cannot upload {path}: {error.strerror}", code=2) from error


def _nothing(_: JobDetail) -> None:
    """One JSON document is printed, at the end."""
