"""`millrace worker`."""

import os
from pathlib import Path

import click

from millrace.cli.options import (
    PATH,
    drain_timeout_option,
    input_allow_network_option,
    json_option,
    key_file_option,
    media_root_option,
    pairs,
    sandbox_option,
)


@click.command()
@click.option("--master", metavar="URL[,URL...]", help="Address of the master; several, separated by commas.")
@click.option("--join", metavar="TOKEN", help="Join with a token of `millrace nodes invite`; the machine gets a key of its own.")  # fmt: skip
@click.option("--state", type=PATH, help="Folder for its identity and scratch space.  [default: millrace-worker]")
@click.option("--name", help="The node's name; without it, the host's.")
@click.option("--slots", type=click.IntRange(1, 4096), help="Tasks run at the same time.  [default: 1]")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="A label; repeatable.")
@media_root_option
@input_allow_network_option
@sandbox_option
@click.option("--ffmpeg", type=PATH, help="An FFmpeg of the system.")
@click.option("--ca", type=PATH, help="Certificate authority of the master in PEM.")
@drain_timeout_option
@key_file_option
@json_option
def worker(
    master: str | None,
    join: str | None,
    state: Path | None,
    name: str | None,
    slots: int | None,
    label: tuple[str, ...],
    media_roots: tuple[Path, ...],
    input_allow_networks: tuple[str, ...],
    sandbox: str | None,
    ffmpeg: Path | None,
    ca: Path | None,
    drain_timeout: float | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Run a worker: it asks masters for work and does it."""
    from millrace.cli.joining import joined  # noqa: PLC0415
    from millrace.cli.run import check_roots, run, say  # noqa: PLC0415  not needed for --help
    from millrace.cli.session import find_key  # noqa: PLC0415
    from millrace.cli.setting_up import configure_logs  # noqa: PLC0415  not needed for --help
    from millrace.config.settings import WorkerSettings, read  # noqa: PLC0415
    from millrace.programs.worker import WorkerProgram  # noqa: PLC0415

    settings = read(
        WorkerSettings,
        os.environ,
        masters=tuple(part.strip() for part in master.split(",")) if master else None,
        api_key=find_key(key_file),
        join=join,
        state=state,
        name=name,
        slots=slots,
        labels=pairs("--label", label) or None,
        media_roots=media_roots or None,
        input_allow_networks=",".join(input_allow_networks) or None,
        sandbox=sandbox,
        ffmpeg=ffmpeg,
        ca=ca,
        drain_timeout_s=drain_timeout,
    )
    check_roots(settings.media_roots)
    configure_logs(secrets=[settings.api_key, settings.join])
    program = WorkerProgram(settings, machine=joined(settings))

    def ready() -> None:
        node = program.worker.node
        say({"node": node}, as_json=as_json, text=f"The worker is ready as node {node}")

    run(program, ready=ready, workers=lambda: (program.worker,), drain_timeout_s=settings.drain_timeout_s)
