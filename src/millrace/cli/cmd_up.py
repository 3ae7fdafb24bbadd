"""`millrace up`."""

import os
import sys
from pathlib import Path

import click

from millrace.cli.options import (
    data_option,
    drain_timeout_option,
    input_allow_network_option,
    json_option,
    media_root_option,
    port_option,
    sandbox_option,
)

DRAIN_TIMEOUT_S = 5.0
"""The master goes too, so the jobs go on at the next start; and `docker stop` kills after ten seconds."""


@click.command()
@data_option
@port_option
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="How many workers.")
@media_root_option
@input_allow_network_option
@sandbox_option
@drain_timeout_option
@json_option
def up(
    data: Path | None,
    port: int | None,
    workers: int,
    media_roots: tuple[Path, ...],
    input_allow_networks: tuple[str, ...],
    sandbox: str | None,
    drain_timeout: float | None,
    as_json: bool,
) -> None:
    """Run a whole farm on this machine: a master, workers, and a status page.

    Exit codes: 0 told to end, and did, 1 it cannot run, 2 wrong usage, 3 not all ended in its time, and was killed.
    """
    import asyncio  # noqa: PLC0415  not needed for --help

    from millrace.cli.run import check_roots, say  # noqa: PLC0415
    from millrace.cli.setting_up import collect_garbage, configure_logs, log_form  # noqa: PLC0415
    from millrace.config.settings import MasterSettings, WorkerSettings, read  # noqa: PLC0415
    from millrace.programs.up import up as keep  # noqa: PLC0415
    from millrace.runtime.clock import SystemClock  # noqa: PLC0415
    from millrace.runtime.notify import Notifier, watchdog  # noqa: PLC0415

    master = read(MasterSettings, os.environ, data=data, port=port)
    worker = read(
        WorkerSettings,
        os.environ,
        media_roots=media_roots or None,
        input_allow_networks=",".join(input_allow_networks) or None,
        sandbox=sandbox,
        drain_timeout_s=drain_timeout,
    )
    check_roots(worker.media_roots)
    configure_logs(secrets=[master.api_key])
    notifier = Notifier(os.environ)

    def ready(url: str, key: str, key_file: Path | None) -> None:
        where = f"in {key_file}" if key_file else "the one that was given"
        text = (
            f"Millrace is ready at {url}\n"
            f"  API key    {where}\n"
            f"  workers    {workers}\n"
            f"  media      {', '.join(map(str, worker.media_roots)) or 'uploads and URLs only; --media-root allows folders'}\n"
            "Ctrl-C drains and stops it."
        )
        say({"url": url, "api_key": key}, as_json=as_json, text=text)
        notifier.ready()

    collect_garbage()
    farm = keep(
        master,
        worker,
        count=workers,
        drain_timeout_s=DRAIN_TIMEOUT_S if worker.drain_timeout_s is None else worker.drain_timeout_s,
        log_form=log_form(),
        environ=os.environ,
        ready=ready,
    )

    async def main() -> int:
        async with watchdog(notifier, clock=SystemClock()):
            return await farm

    sys.exit(asyncio.run(main()))
