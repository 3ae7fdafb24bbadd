"""`millrace supervise check`."""

import os
import sys
from pathlib import Path

import click

from millrace.cli.failure import FAILED, WRONG_USAGE
from millrace.cli.options import PATH, Output, output_option
from millrace.cli.supervise.changes_file import changes_option


@click.command()
@click.argument("file", type=PATH, required=False)
@click.option("-c", "--config", type=PATH, help="The plan, as `millrace supervise` takes it; the same as FILE.")
@changes_option
@click.option("--strict", is_flag=True, help="Fail where there are warnings, too.")
@click.option("--json", "as_json", is_flag=True, help="The same as --output json.")
@output_option
@click.pass_context
def check(
    context: click.Context,
    file: Path | None,
    config: Path | None,
    changes: Path | None,
    strict: bool,
    as_json: bool,
    output: Output,
) -> None:
    """Check a plan; print every fault at once, with its line.

    Errors are what cannot work (exit code 2), warnings what is probably a mistake (1 with --strict), suggestions what
    could be better.
    """
    from millrace.cli.supervise.load import examine  # noqa: PLC0415  not needed for --help

    file = _named(context, file, config)
    found = examine(file, os.environ, changes)
    if as_json or output is Output.JSON:
        from millrace.cli.show import json_document  # noqa: PLC0415  not needed for --help

        json_document(found.document(file, strict=strict))
    else:
        if found.plan is None:
            print(f"cannot use the plan {file}:", file=sys.stderr)
        for weight, finding in found.findings:
            print(f"  {weight}: {finding}", file=sys.stderr)
        if found.plan is not None:
            count = len(found.plan.processes)
            print(f"{file}: the plan is valid; it keeps {count} process{'es' if count != 1 else ''}")
    if found.plan is None:
        sys.exit(WRONG_USAGE)
    if strict and found.warned:
        print(f"cannot pass {file} with --strict: it has warnings; mend them", file=sys.stderr)
        sys.exit(FAILED)


def _named(context: click.Context, file: Path | None, config: Path | None) -> Path:
    """The one plan that was named: FILE, or -c before or behind the command."""
    before = None if context.parent is None else context.parent.params.get("config")
    named = {one for one in (file, config, before) if one is not None}
    if len(named) != 1:
        raise click.UsageError("name one plan: FILE, or -c FILE" if named else "name a plan: FILE, or -c FILE", context)
    return named.pop()
