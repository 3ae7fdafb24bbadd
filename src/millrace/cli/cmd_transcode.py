"""`millrace transcode`."""

import sys
from pathlib import Path

import click

from millrace.cli.options import PATH, chunks_option, on_damage_option, sandbox_option
from millrace.domain.media.damage import OnDamage
from millrace.domain.media.split import Chunking


@click.command()
@click.argument("source", metavar="[INPUT]", required=False)
@click.option(
    "--profile", "-p", help="A profile's name, a scenario such as 1080p30-h264, or a YAML file.  [default: web-hls]"
)
@click.option("--out", type=PATH, default=Path("out"), show_default=True, help="Folder for the result.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier output in that folder, never anything else.")
@click.option("--duration", type=float, metavar="SECONDS", help="Seconds of the generated test clip.")
@chunks_option
@on_damage_option
@click.option("--ffmpeg", type=PATH, help="An FFmpeg of the system.")
@sandbox_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option("--verbose", is_flag=True, help="Print what the programs log.")
def transcode(
    source: str | None,
    profile: str | None,
    out: Path,
    overwrite: bool,
    duration: float | None,
    chunks: Chunking | None,
    on_damage: OnDamage | None,
    ffmpeg: Path | None,
    sandbox: str | None,
    as_json: bool,
    verbose: bool,
) -> int:
    """Turn a film into other video, here and now: a farm of one master and one worker, for one job.

    INPUT is the film, a file or an http(s) or s3 URL; without it a test clip is generated. Exit codes: 0 done, 1 the job failed, 2 wrong usage.
    """
    try:
        from millrace.cli.transcode.run import Order, transcode_now  # noqa: PLC0415  not needed for --help

        order = Order(
            source=source,
            profile=profile,
            out=out,
            overwrite=overwrite,
            duration_s=duration,
            chunks=chunks,
            on_damage=on_damage,
            ffmpeg=ffmpeg,
            sandbox=sandbox,
            verbose=verbose,
        )
        return transcode_now(order, as_json=as_json)
    except KeyboardInterrupt:
        # Before the farm is there to hear it, Ctrl-C comes as an exception; a program reads its document all the same.
        if as_json:
            sys.stdout.write(_interrupted(out))
        raise


def _interrupted(out: Path) -> str:
    """The document of a transcode that was ended before it had a job: the fields of `summary.Summary`."""
    import json  # noqa: PLC0415  needed here alone

    failure = {"class": "canceled", "message": "canceled by SIGINT"}
    document: dict[str, object] = {"state": "canceled", "out": str(out.absolute()), "entry": None, "failure": failure}
    document |= {"log": None, "seconds": 0.0, "notes": [], "renditions": [], "files": 0, "size": 0, "damage": None}
    return json.dumps(document, indent=2) + "\n"
