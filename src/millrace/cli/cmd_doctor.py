"""`millrace doctor`."""

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from millrace.cli.options import PATH, Output, Target, data_option, output_option, target_options

if TYPE_CHECKING:
    from millrace.programs.doctor.finding import Finding

_MARKS = {
    "ok": ("ok", "green"),
    "warning": ("warn", "yellow"),
    "failed": ("FAIL", "red"),
    "skipped": ("-", "bright_black"),
}


@click.command()
@data_option
@click.option("--store", help="The postgresql:// URL of the farm; without it, SQLite in the data folder.")
@click.option("--blobs", help="s3://bucket/prefix of its files; without it, the data folder.")
@click.option("--ffmpeg", type=PATH, help="An FFmpeg of the system.")
@target_options
@output_option
def doctor(
    target: Target, data: Path | None, store: str | None, blobs: str | None, ffmpeg: Path | None, output: Output
) -> int:
    """Look at this installation: machine, engine, places, master, database, and the farm that runs.

    It reads the settings that `master` and `worker` would read, and changes nothing that stays. Exit codes: 0 nothing failed,
    1 something that is asked for does not work.
    """
    from millrace.cli.session import connect  # noqa: PLC0415  not needed for --help
    from millrace.cli.show import json_document  # noqa: PLC0415
    from millrace.config.settings import MasterSettings, WorkerSettings, read  # noqa: PLC0415
    from millrace.programs.doctor.everything import diagnose  # noqa: PLC0415
    from millrace.telemetry import logs  # noqa: PLC0415

    logs.configure(form="text", level="error")
    settings = read(MasterSettings, os.environ, data=data, store=store, blobs=blobs)
    worker = read(WorkerSettings, os.environ, ffmpeg=ffmpeg)
    with connect(target) as client:
        tell = _tell if output is not Output.JSON else lambda _: None
        findings = asyncio.run(diagnose(settings, worker, client, tell))
    counts = Counter(finding.verdict.value for finding in findings)
    if output is Output.JSON:
        json_document({"findings": findings, "counts": counts})
    else:
        told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _MARKS if counts[verdict])
        click.echo(f"\n{len(findings)} checks: {told}")
    return 1 if counts["failed"] else 0


def _tell(finding: "Finding") -> None:
    mark, colour = _MARKS[finding.verdict.value]
    click.echo(f"{click.style(f'{mark:4}', fg=colour)} {finding.check:26} {finding.found}")
    if finding.remedy:
        click.echo(f"{'':31} {click.style('->', fg=colour)} {finding.remedy}")
    sys.stdout.flush()
