"""`millrace up`."""

import os
from pathlib import Path

import click

from millrace.cli.options import (
    data_option,
    drain_timeout_option,
    json_option,
    media_root_option,
    no_private_inputs_option,
    port_option,
)

DRAIN_TIMEOUT_S = 5.0
"""The master goes too, so the jobs go on at the next start; and `docker stop` kills after ten seconds."""


@click.command()
@data_option
@port_option
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="How many workers.")
@media_root_option
@no_private_inputs_option
@drain_timeout_option
@json_option
def up(
    data: Path | None,
    port: int | None,
    workers: int,
    media_roots: tuple[Path, ...],
    no_private_inputs: bool,
    drain_timeout: float | None,
    as_json: bool,
) -> None:
    """Run a whole farm on this machine: a master, workers, and a status page."""
    from millrace.cli.run import check_roots, configure_logs, run, say  # noqa: PLC0415  not needed for --help
    from millrace.config.settings import MasterSettings, WorkerSettings, read  # noqa: PLC0415
    from millrace.programs.all_in_one import AllInOne  # noqa: PLC0415

    master = read(MasterSettings, os.environ, data=data, port=port)
    worker = read(
        WorkerSettings,
        os.environ,
        masters=("http://later",),
        media_roots=media_roots or None,
        allow_private_inputs=False if no_private_inputs else None,
        drain_timeout_s=drain_timeout,
    )
    check_roots(worker.media_roots)
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

    patience_s = DRAIN_TIMEOUT_S if worker.drain_timeout_s is None else worker.drain_timeout_s
    run(farm, ready=ready, workers=lambda: farm.workers, drain_timeout_s=patience_s)
