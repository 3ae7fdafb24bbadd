"""`millrace jobs submit`."""

import os
import sys
from datetime import datetime
from pathlib import Path

import click
import msgspec

from millrace.cli import show
from millrace.cli.failure import CommandError
from millrace.cli.options import Output, Target, Word, chunks_option, output_option, pairs, target_options
from millrace.cli.profiles.load import profile_or_document
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.client import Client
from millrace.client.transfers import upload as send
from millrace.domain.media.split import Chunking
from millrace.domain.order import Priority, Queue
from millrace.domain.sla import Classification
from millrace.edge.decode import field_error
from millrace.wire.v1.jobs import JobRequest


@click.command()
@click.argument("source", metavar="[INPUT]", required=False)
@click.option("--profile", "-p", help="A profile's name, a scenario, or a YAML file.")
@click.option("--scenario", help="A scenario such as 1080p30-h264.")
@click.option("--to", "destination", help="Folder or s3:// prefix for the output; without it the master keeps it.")
@click.option("--upload", is_flag=True, help="Send the file INPUT of this machine to the master.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier output there, never anything else.")
@click.option("--queue", type=Word(Queue), default=Queue.DEFAULT.value, show_default=True, help="What the job is for.")
@click.option(
    "--priority", type=Word(Priority), default=Priority.MEDIUM.value, show_default=True, help="How urgent it is."
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "ffmpeg", "gstreamer"]),
    default="auto",
    show_default=True,
    help="What runs it.",
)
@click.option("--classification", type=Word(Classification), help="What its service level is judged by.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="A label for the job; repeatable.")
@click.option("--require", multiple=True, metavar="KEY=VALUE", help="A label that the node must carry; repeatable.")
@click.option(
    "--set",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="A change of the profile, such as crf=20; repeatable.",
)
@click.option("--duration", type=float, metavar="SECONDS", help="Seconds of the generated test clip.")
@chunks_option
@click.option("--run-after", type=click.DateTime(), help="Not before this moment (local time).")
@click.option("--timeout", type=float, metavar="SECONDS", help="Seconds that the job may run.")
@click.option("--max-retries", type=int, help="Attempts beyond the first.")
@click.option("--tenant", default="default", show_default=True, help="Whose job it is.")
@click.option("--idempotency-key", "key", help="Repeating it gives the same job.")
@click.option("--wait", is_flag=True, help="Follow the job to its end; exit 1 if it fails.")
@target_options
@output_option
def submit(
    source: str | None,
    profile: str | None,
    scenario: str | None,
    destination: str | None,
    upload: bool,
    overwrite: bool,
    queue: Queue,
    priority: Priority,
    engine: str,
    classification: Classification | None,
    label: tuple[str, ...],
    require: tuple[str, ...],
    parameters: tuple[str, ...],
    duration: float | None,
    chunks: Chunking | None,
    run_after: datetime | None,
    timeout: float | None,
    max_retries: int | None,
    tenant: str,
    key: str | None,
    wait: bool,
    target: Target,
    output: Output,
) -> int:
    """Submit a job and print what became of it.

    INPUT is a path as the workers see it, or an http(s)://, s3:// or upload:// URL; without it a test clip is made.
    """
    document: dict[str, object] = {
        "input": source if upload else _absolute(source),
        "profile": profile_or_document(profile) if profile else None,
        "scenario": scenario,
        "output": _absolute(destination),
        "overwrite": overwrite,
        "queue": queue,
        "priority": priority,
        "engine": engine,
        "classification": classification,
        "tenant": tenant,
        "labels": dict(pairs("--label", label)),
        "requires": dict(pairs("--require", require)),
        "parameters": {"duration_s": duration, "chunks": chunks, **dict(pairs("--set", parameters))},
        "run_after": run_after.astimezone() if run_after else None,
        "timeout_s": timeout,
        "max_retries": max_retries,
    }
    if key is not None and not key.isprintable():
        raise CommandError("cannot submit: the idempotency key holds a line break or another control character", code=2)
    try:
        # What --set gives is text; the shape says which of it is a number.
        request = msgspec.convert(document, JobRequest, strict=False)
    except msgspec.ValidationError as error:
        wrong = field_error(str(error), JobRequest)
        raise CommandError(f"cannot submit: {wrong.field}: {wrong.message}", code=2) from error
    with connect(target) as client:
        if upload:
            if source is None:
                raise CommandError("cannot upload: name the file", code=2)
            request = msgspec.structs.replace(request, input=f"upload://{_send(client, Path(source))}")
        job = client.do(people.submit(request, key=key))
        if wait:
            from millrace.cli.jobs.watch import follow  # noqa: PLC0415  only --wait draws

            job = follow(client, job.id, quiet=output is Output.JSON)
    if output is Output.JSON:
        show.json_document(job)
    else:
        print(f"job {job.number} is {job.state} ({job.id})")
    if job.failure is not None:
        sys.stderr.write(f"{job.failure.message}\n")
    return 1 if job.state in {"failed", "rejected", "canceled"} else 0


def _send(client: Client, path: Path) -> str:
    try:
        return send(client, path).id
    except OSError as error:
        raise CommandError(f"cannot upload {path}: {error.strerror}", code=2) from error


def _absolute(location: str | None) -> str | None:
    """A path as the user's shell means it, from the root; URLs as they are."""
    if location is None or "://" in location or location.startswith("-"):
        return location
    return os.path.abspath(location)  # noqa: PTH100  `..` goes, links stay as the user named them
