"""`millrace supervise convert`."""

import sys
from enum import StrEnum
from pathlib import Path

import click

from millrace.cli.failure import CommandError
from millrace.cli.options import PATH, Word


class Form(StrEnum):
    """Whose file it is."""

    PHPEEK = "phpeek"
    SUPERVISORD = "supervisord"
    PROCFILE = "procfile"


@click.command()
@click.argument("file", type=PATH)
@click.option("--from", "form", type=Word(Form), help="Whose file it is.  [default: seen from its name and text]")
def convert(file: Path, form: Form | None) -> None:
    """Print the plan that a file of another process manager means; on stderr, what changed and what has no counterpart.

    Reads the YAML of PHPeek PM, supervisord's ini files and Procfiles.
    """
    from millrace.cli.supervise.load import read_text  # noqa: PLC0415  not needed for --help
    from millrace.supervisor.conversion import phpeek, procfile, supervisord  # noqa: PLC0415
    from millrace.supervisor.conversion.converted import settled  # noqa: PLC0415

    text = read_text(file)
    form = form or _seen(file, text)
    converters = {
        Form.PHPEEK: phpeek.convert,
        Form.SUPERVISORD: supervisord.convert,
        Form.PROCFILE: procfile.convert,
    }
    try:
        found = converters[form](text)
        plan = settled(found)
    except ValueError as error:
        raise CommandError(f"cannot convert {file}, read as {form}: {error}", code=2) from error
    for note in found.notes:
        print(note, file=sys.stderr)
    print(plan, end="")


def _seen(file: Path, text: str) -> Form:
    if file.name.lower().startswith("procfile"):
        return Form.PROCFILE
    if file.suffix in (".ini", ".conf") or "\n[program:" in f"\n{text}":
        return Form.SUPERVISORD
    return Form.PHPEEK
