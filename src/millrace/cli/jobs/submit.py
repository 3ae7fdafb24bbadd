"""`millrace jobs submit`."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from millrace.cli import show
from millrace.cli.failure import CommandError
from millrace.cli.options import DEFAULT_MASTER, KeyFileOption, MasterOption, Output, OutputOption
from millrace.cli.profiles.load import profile_or_document
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.client import Client
from millrace.client.transfers import upload as send
from millrace.domain.order import Priority, Queue
from millrace.domain.sla import Classification
from millrace.wire.v1.jobs import JobRequest


def submit(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A path (as the workers see it), or an http(s)://, s3:// or upload:// URL. Without it a test clip is made.",
            metavar="[INPUT]",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="A profile's name, a scenario, or a YAML file.")
    ] = None,
    scenario: Annotated[str | None, typer.Option(help="A scenario such as 1080p30-h264.")] = None,
    destination: Annotated[
        str | None, typer.Option("--to", help="Folder or s3:// prefix for the output; without it the master keeps it.")
    ] = None,
    upload: Annotated[
        bool, typer.Option("--upload", help="Send the file INPUT of this machine to the master.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at the destination.")] = False,
    queue: Annotated[Queue, typer.Option(help="What the job is for.")] = Queue.DEFAULT,
    priority: Annotated[Priority, typer.Option(help="How urgent it is among those.")] = Priority.MEDIUM,
    engine: Annotated[str, typer.Option(help="auto, ffmpeg or gstreamer.")] = "auto",
    classification: Annotated[Classification | None, typer.Option(help="What its service level is judged by.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A label for the job; repeatable.", metavar="KEY=VALUE")
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="A label that the node must carry; repeatable.", metavar="KEY=VALUE")
    ] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds to make or to take.", metavar="SECONDS")] = None,
    run_after: Annotated[datetime | None, typer.Option(help="Not before this moment (local time).")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that the job may run.", metavar="SECONDS")] = None,
    max_retries: Annotated[int | None, typer.Option(help="Attempts beyond the first.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose job it is.")] = "default",
    key: Annotated[str | None, typer.Option("--idempotency-key", help="Repeating it gives the same job.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end; exit 1 if it fails.")] = False,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Submit a job and print what became of it."""
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
        "labels": _pairs("--label", label),
        "requires": _pairs("--require", require),
        "parameters": {"duration_s": duration},
        "run_after": run_after.astimezone() if run_after else None,
        "timeout_s": timeout,
        "max_retries": max_retries,
    }
    try:
        request = msgspec.convert(document, JobRequest)
    except msgspec.ValidationError as error:
        raise CommandError(f"cannot submit: {error}", code=2) from error
    with connect(master, key_file) as client:
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
    if job.state in {"failed", "rejected", "canceled"}:
        raise typer.Exit(1)


def _send(client: Client, path: Path) -> str:
    try:
        return send(client, path).id
    except OSError as error:
        raise CommandError(f"cannot upload {path}: {error.strerror}", code=2) from error


def _absolute(location: str | None) -> str | None:
    """A path as the user's shell means it, from the root; URLs as they are."""
    if location is None or "://" in location or location.startswith("-"):
        return location
    return str(Path(location).absolute())


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or ()]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise CommandError(f"cannot use {option}: write it as KEY=VALUE", code=2)
    return {key: value for key, _, value in pairs}
