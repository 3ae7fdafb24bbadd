"""Read a plan for a command."""

from collections.abc import Mapping
from pathlib import Path

from millrace.cli.failure import CommandError
from millrace.supervisor.plan import Plan
from millrace.supervisor.plan_document import PlanError, plan_from


def read_plan(file: Path, environ: Mapping[str, str]) -> Plan:
    """The plan in a file.

    Raises:
        CommandError: it cannot be read, or could not work; names every fault on a line of its own.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot read the plan {file}: {error.strerror}", code=2) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"cannot read the plan {file}: it is no UTF-8 at byte {error.start}", code=2) from error
    try:
        return plan_from(text, environ)
    except PlanError as error:
        faults = "\n".join(f"  {finding}" for finding in error.findings)
        raise CommandError(f"cannot use the plan {file}:\n{faults}", code=2) from error
