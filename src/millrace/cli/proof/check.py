"""`millrace proof check`."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from millrace.cli.options import PATH, sandbox_option

if TYPE_CHECKING:
    from millrace.programs.proof_check import Verdict


@click.command()
@click.argument("place", metavar="FOLDER", type=PATH)
@click.option("--ffmpeg", type=PATH, help="An FFmpeg of the system.")
@sandbox_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
def check(place: Path, ffmpeg: Path | None, sandbox: str | None, as_json: bool) -> int:
    """Check that the finished output in FOLDER is what its proof.json says.

    Every file is hashed, every stream is described and decoded again, and all of it is compared with the proof; no farm is needed.
    Exit codes: 0 it holds, 1 it does not, 2 it cannot be checked.
    """
    from millrace.cli.failure import WRONG_USAGE, CommandError  # noqa: PLC0415  not needed for --help
    from millrace.config.settings import WorkerSettings, read  # noqa: PLC0415
    from millrace.programs import proof_check  # noqa: PLC0415
    from millrace.telemetry import logs  # noqa: PLC0415

    logs.configure(form="text", level="error")
    settings = read(WorkerSettings, os.environ, ffmpeg=ffmpeg, sandbox=sandbox)
    try:
        verdict = asyncio.run(
            proof_check.check(place, settings.ffmpeg, settings.sandbox, (lambda _: None) if as_json else click.echo)
        )
    except proof_check.CannotCheck as error:
        raise CommandError(str(error), code=WRONG_USAGE) from error
    if as_json:
        _print_document(verdict)
    else:
        _print_text(verdict)
    return 0 if verdict.holds else 1


def _print_document(verdict: "Verdict") -> None:
    from millrace.cli.show import json_document  # noqa: PLC0415  needed here alone

    json_document({
        "holds": verdict.holds,
        "differences": [{"path": one.path, "text": one.text} for one in verdict.differences],
        "files": verdict.files, "renditions": verdict.renditions, "frames": verdict.frames, "joins": verdict.joins,
        "unnamed": list(verdict.unnamed),
    })  # fmt: skip


def _print_text(verdict: "Verdict") -> None:
    for name in verdict.unnamed:
        click.echo(f"not in the proof: {name}")
    for one in verdict.differences:
        click.echo(f"{one.path} {one.text}")
    counts = (
        ("files", verdict.files),
        ("streams decoded", verdict.renditions),
        ("pictures", verdict.frames),
        ("joins in each rendition", verdict.joins),
    )
    checked = ", ".join(f"{name}: {count}" for name, count in counts)
    differences = f"not hold, differences: {len(verdict.differences)}"
    click.echo(f"the proof {'holds' if verdict.holds else f'does {differences}'} ({checked})")
