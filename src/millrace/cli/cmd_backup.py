"""`millrace backup` and `millrace restore`."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.options import PATH, Output, data_option, output_option

if TYPE_CHECKING:
    from millrace.config.settings import MasterSettings
    from millrace.programs.backup import Manifest

_store_option = click.option(
    "--store", help="The postgresql:// URL of the farm; without it, SQLite in the data folder."
)
_blobs_option = click.option("--blobs", help="s3://bucket/prefix of its files; without it, the data folder.")


@click.command()
@click.argument("target", type=PATH)
@data_option
@_store_option
@_blobs_option
@click.option(
    "--files/--no-files", default=None, help="Copy uploads and kept outputs, too.  [default: unless they lie in S3]"
)
@output_option
def backup(
    target: Path, data: Path | None, store: str | None, blobs: str | None, files: bool | None, output: Output
) -> None:
    """Save a farm into the new folder TARGET, while its masters go on.

    All of it is as of one moment: jobs, history, logs, nodes, and the key of the data folder, so keep TARGET as private as that.
    """
    from millrace.programs.backup import back_up  # noqa: PLC0415  not needed for --help

    settings = _settings(data, store, blobs)
    with_files = not settings.blobs.startswith("s3:") if files is None else files
    _tell("Saved", _run(back_up(settings, target, files=with_files)), target, output)


@click.command()
@click.argument("source", type=PATH)
@data_option
@_store_option
@_blobs_option
@output_option
def restore(source: Path, data: Path | None, store: str | None, blobs: str | None, output: Output) -> None:
    """Make a farm of the backup SOURCE, in a data folder or a database where there is none yet.

    What the farm did after the backup is forgotten: workers that still have jobs from then are refused and begin anew.
    """
    from millrace.programs.backup import restore as bring_back  # noqa: PLC0415  not needed for --help

    _tell("Restored", _run(bring_back(_settings(data, store, blobs), source)), source, output)


def _settings(data: Path | None, store: str | None, blobs: str | None) -> "MasterSettings":
    from millrace.config.settings import MasterSettings, read  # noqa: PLC0415

    return read(MasterSettings, os.environ, data=data, store=store, blobs=blobs)


def _run(work: Coroutine[Any, Any, "Manifest"]) -> "Manifest":
    from millrace.cli.failure import CommandError  # noqa: PLC0415
    from millrace.cli.run import EXPECTED, code_of, sentence_of  # noqa: PLC0415

    try:
        return asyncio.run(work)
    except EXPECTED as error:
        raise CommandError(sentence_of(error), code=code_of(error)) from error


def _tell(done: str, manifest: "Manifest", folder: Path, output: Output) -> None:
    from millrace.cli.show import json_document  # noqa: PLC0415

    if output is Output.JSON:
        json_document(manifest)
        return
    jobs, files = manifest.database.jobs, len(manifest.files)
    click.echo(
        f"{done} {jobs} job{'s' * (jobs != 1)} and {files} file{'s' * (files != 1)}, {manifest.size / 1e6:.1f} MB in all: {folder}"
    )
