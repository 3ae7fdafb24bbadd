"""`millrace supervise check`."""

import os
from pathlib import Path

import click

from millrace.cli.options import PATH


@click.command()
@click.argument("file", type=PATH)
def check(file: Path) -> None:
    """Check a plan; print every fault at once, with its line."""
    from millrace.cli.supervise.load import read_plan  # noqa: PLC0415  not needed for --help

    plan = read_plan(file, os.environ)
    count = len(plan.processes)
    print(f"{file}: the plan is valid; it keeps {count} process{'es' if count != 1 else ''}")
