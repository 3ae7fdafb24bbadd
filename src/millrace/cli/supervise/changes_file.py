"""`--changes`: where processes that were changed over the API are kept, for a plan in a folder that is read-only."""

from pathlib import Path
from typing import Any

import click

from millrace.cli.options import PATH


def _with_a_folder(context: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    del context, param
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.absolute().parent}; make it, or mount the volume")
    return value


_SAID: dict[str, Any] = {
    "type": PATH,
    "envvar": "MILLRACE_SUPERVISE_CHANGES",
    "callback": _with_a_folder,
    "help": "Where `millrace ctl save` keeps what was changed.  [default: beside the plan, PLAN.changes]",
}
CHANGES = click.Option(["--changes"], **_SAID)
changes_option = click.option("--changes", **_SAID)
