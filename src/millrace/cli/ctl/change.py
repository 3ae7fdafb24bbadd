"""`millrace ctl add`, `set` and `remove`."""

import sys
from pathlib import Path
from typing import Any, TypeVar

import click

from millrace.cli import show
from millrace.cli.ctl.changing import change_options, exit_code, tell
from millrace.cli.ctl.session import Control, known_names, supervisor
from millrace.cli.failure import CommandError
from millrace.cli.options import PATH, Output
from millrace.client import supervise
from millrace.client.calls import Call
from millrace.client.errors import RefusedError
from millrace.wire.v1.supervise import NewProcess, ProcessDefinition, ReloadView

T = TypeVar("T")
MAX_CHARS = 1 << 16
_UNSAVED = "it is not saved; `millrace ctl save` keeps it for the next start"


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("file", metavar="FILE", type=PATH)
@change_options
def add(name: str, file: Path, dry_run: bool, wait: int, control: Control, output: Output) -> int:
    """Add process NAME as it is written in FILE: what stands under its name in a plan, in YAML; - reads standard input.

    It stays until it is saved or the supervisor ends. One that does not get up is taken back. Exit code 1 then, and where it
    is refused.
    """
    request = NewProcess(name=name, yaml=_text(file))
    return _do(supervise.add(request, wait_s=wait, dry_run=dry_run), control, output, wait=wait)


@click.command("set")
@click.argument("name", metavar="NAME", shell_complete=known_names)
@click.argument("file", metavar="FILE", type=PATH)
@change_options
def set_(name: str, file: Path, dry_run: bool, wait: int, control: Control, output: Output) -> int:
    """Put what stands in FILE in the place of what process NAME is; - reads standard input.

    `millrace ctl plan NAME` prints it as it is now. What runs of it is replaced where need be, and no other process is touched.
    """
    request = ProcessDefinition(yaml=_text(file))
    return _do(supervise.change(name, request, wait_s=wait, dry_run=dry_run), control, output, wait=wait)


@click.command()
@click.argument("name", metavar="NAME", shell_complete=known_names)
@change_options
def remove(name: str, dry_run: bool, wait: int, control: Control, output: Output) -> int:
    """Stop process NAME as its plan says, and take it out. One that others depend on is refused."""
    return _do(supervise.remove(name, wait_s=wait, dry_run=dry_run), control, output, wait=wait, gone=name)


def _do(call: Call[Any], control: Control, output: Output, *, wait: int, gone: str = "") -> int:
    """Make a change, and tell what became of it; `gone` is what an answer without words means."""
    with supervisor(control) as client:
        try:
            found: ReloadView | None = client.do(call)
        except RefusedError as error:
            raise CommandError(_faults(error)) from error
    if output is Output.JSON:
        show.json_document({"outcome": "applied", "removed": [gone]} if found is None else found)
    elif found is None:
        click.echo(f"{gone} is gone; {_UNSAVED}")
    else:
        tell(found, more=f"; {_UNSAVED}" if found.outcome in ("applied", "pending") else "")
    return 0 if found is None else exit_code(found, wait=wait)


def _faults(error: RefusedError) -> str:
    """The refusal; several faults on a line each."""
    if len(error.errors) < 2:
        return str(error)
    said = str(error).partition(": ")[0]
    return "\n".join((f"{said}:", *(f"  {one.field} {one.message}" for one in error.errors)))


def _text(file: Path) -> str:
    """The text of a file that a person named; of standard input, where that is `-`.

    Raises:
        CommandError: it cannot be read, or is too long to be one process.
    """
    where = "standard input" if str(file) == "-" else str(file)
    try:
        if str(file) == "-":
            text = sys.stdin.buffer.read(4 * MAX_CHARS + 1).decode()
        else:
            with file.open("rb") as opened:
                text = opened.read(4 * MAX_CHARS + 1).decode()
    except OSError as error:
        raise CommandError(f"cannot read {where}: {error.strerror}", code=2) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"cannot read {where}: it is no UTF-8 at byte {error.start}", code=2) from error
    if len(text) > MAX_CHARS:
        raise CommandError(
            f"cannot send {where}: it is longer than {MAX_CHARS} characters, which is no single process", code=2
        )
    return text
