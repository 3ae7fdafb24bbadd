"""`millrace up`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from millrace.cli.failure import CommandError


def up(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder for everything that is kept. [millrace-data]")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes any free one. [8080]")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="How many workers.")] = 1,
    media_root: Annotated[
        list[Path] | None,
        typer.Option("--media-root", help="Folder that inputs and outputs by path must lie under; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say in one JSON line when it is ready.")] = False,
) -> None:
    """Run a whole farm on this machine: a master, workers, and a status page."""
    from millrace.cli.run import configure_logs, run, say  # noqa: PLC0415  the programs are imported when they run
    from millrace.config.settings import MasterSettings, WorkerSettings, read  # noqa: PLC0415
    from millrace.programs.all_in_one import AllInOne  # noqa: PLC0415

    master = read(MasterSettings, os.environ, data=data, port=port)
    roots = tuple(media_root) if media_root else None
    worker = read(WorkerSettings, os.environ, media_roots=roots, masters=("http://later",))
    for root in worker.media_roots:
        if not root.is_dir():
            raise CommandError(f"cannot use the media root {root}: there is no such folder", code=2)
    configure_logs(secrets=[master.api_key])
    farm = AllInOne(master, worker, count=workers)

    def ready() -> None:
        found = farm.master
        where = f"in {found.key_file}" if found.key_file else "the one that was given"
        text = (
            f"Millrace is ready at {found.url}\n"
            f"  API key    {where}\n"
            f"  workers    {workers}\n"
            f"  media      {', '.join(map(str, worker.media_roots)) or 'uploads and URLs only; --media-root allows folders'}\n"
            "Ctrl-C drains and stops it."
        )
        say({"url": found.url, "api_key": found.key}, as_json=as_json, text=text)

    run(farm, ready=ready, workers=lambda: farm.workers)
