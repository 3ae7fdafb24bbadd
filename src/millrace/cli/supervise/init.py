"""`millrace supervise init`."""

import re
from pathlib import Path

import click

from millrace.cli.failure import CommandError, code_of
from millrace.cli.options import PATH

PRESETS = ("generic", "laravel", "symfony", "wordpress", "django", "rails", "node", "millrace")
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?\Z")


@click.command()
@click.argument("preset", type=click.Choice(PRESETS))
@click.option("--out", type=PATH, default=Path(), help="Folder to write to.  [default: the current one]")
@click.option(
    "--name", default="app", show_default=True, help="What the image, the service and the deployment are called."
)
@click.option("--force", is_flag=True, help="Write over files that are there.")
def init(preset: str, out: Path, name: str, force: bool) -> None:
    """Write a plan to begin with, and a Dockerfile, a compose file and a Kubernetes manifest that run it."""
    from millrace.supervisor.presets.scaffold import scaffold  # noqa: PLC0415  not needed for --help

    if not _NAME.match(name):
        raise click.BadParameter(
            "give small letters, digits and -, beginning with a letter, at most 40", param_hint="--name"
        )
    texts = scaffold(preset, name)
    there = [str(out / file) for file in texts if (out / file).exists()]
    if there and not force:
        raise CommandError(f"cannot write {', '.join(there)}: it is there; name another folder, or say --force", code=2)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (out / file).write_text(text, encoding="utf-8")
            print(out / file)
    except OSError as error:
        raise CommandError(f"cannot write to {out}: {error.strerror}", code=code_of(error)) from error
