"""`millrace transcode`."""

from pathlib import Path
from typing import Annotated

import typer


def transcode(
    source: Annotated[
        Path | None, typer.Argument(help="The film. Without it a test clip is generated.", metavar="[INPUT]")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", "-p", help="A profile's name, a scenario such as 1080p30-h264, or a YAML file. [web-hls]"
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the result.")] = Path("out"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in that folder.")] = False,
    duration: Annotated[
        float | None, typer.Option("--duration", help="Seconds of the generated test clip.", metavar="SECONDS")
    ] = None,
    ffmpeg: Annotated[Path | None, typer.Option("--ffmpeg", help="An FFmpeg of the system.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print what the programs log.")] = False,
) -> None:
    """Turn a film into other video, here and now: a farm of one master and one worker, for one job."""
    from millrace.cli.transcode.run import Order, transcode_now  # noqa: PLC0415  imported when it runs

    order = Order(
        source=source,
        profile=profile,
        out=out,
        overwrite=overwrite,
        duration_s=duration,
        ffmpeg=ffmpeg,
        verbose=verbose,
    )
    code = transcode_now(order, as_json=as_json)
    if code:
        raise typer.Exit(code)
