"""`millrace worker`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from millrace.cli.failure import CommandError
from millrace.cli.options import KeyFileOption


def worker(
    master: Annotated[
        str | None,
        typer.Option("--master", help="Address of the master; several, separated by commas.", metavar="URL[,URL...]"),
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder for its identity and scratch space. [millrace-worker]")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The node's name; without it, the host's.")] = None,
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="Tasks run at the same time. [1]")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="A label; repeatable.", metavar="KEY=VALUE")
    ] = None,
    media_root: Annotated[
        list[Path] | None,
        typer.Option("--media-root", help="Folder that inputs and outputs by path must lie under; repeatable."),
    ] = None,
    ffmpeg: Annotated[Path | None, typer.Option("--ffmpeg", help="An FFmpeg of the system.")] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="Certificate authority of the master in PEM.")] = None,
    key_file: KeyFileOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say in one JSON line when it is ready.")] = False,
) -> None:
    """Run a worker: it asks masters for work and does it."""
    from millrace.cli.run import configure_logs, run, say  # noqa: PLC0415  the programs are imported when they run
    from millrace.cli.session import find_key  # noqa: PLC0415
    from millrace.config.settings import WorkerSettings, read  # noqa: PLC0415
    from millrace.programs.worker import WorkerProgram  # noqa: PLC0415

    settings = read(
        WorkerSettings,
        os.environ,
        masters=tuple(part.strip() for part in master.split(",")) if master else None,
        api_key=find_key(key_file),
        state=state,
        name=name,
        slots=slots,
        labels=_labels(label) if label else None,
        media_roots=tuple(media_root) if media_root else None,
        ffmpeg=ffmpeg,
        ca=ca,
    )
    for root in settings.media_roots:
        if not root.is_dir():
            raise CommandError(f"cannot use the media root {root}: there is no such folder", code=2)
    configure_logs(secrets=[settings.api_key])
    program = WorkerProgram(settings)

    def ready() -> None:
        node = program.worker.node
        say({"node": node}, as_json=as_json, text=f"The worker is ready as node {node}")

    run(program, ready=ready, workers=lambda: (program.worker,))


def _labels(given: list[str]) -> tuple[tuple[str, str], ...]:
    pairs = [text.partition("=") for text in given]
    if not all(key and equals for key, equals, _ in pairs):
        raise CommandError("cannot use --label: write it as KEY=VALUE", code=2)
    return tuple((key, value) for key, _, value in pairs)
