"""Read a plan for a command."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from millrace.cli.failure import CommandError
from millrace.supervisor.plan import Plan
from millrace.supervisor.plan_document import Reading, reading
from millrace.supervisor.plans.advice import advise
from millrace.supervisor.plans.file import PlanFile
from millrace.supervisor.plans.findings import Finding, PlanError
from millrace.supervisor.plans.layers import Layers
from millrace.supervisor.plans.text_file import text_in
from millrace.supervisor.plans.weight import Weight


class Examined(Struct, frozen=True):
    """A plan that was looked at: None where it cannot work, and everything that is to be said about it."""

    plan: Plan | None
    findings: tuple[tuple[Weight, Finding], ...]

    @property
    def warned(self) -> bool:
        """True where something is probably a mistake."""
        return any(weight is Weight.WARNING for weight, _ in self.findings)

    def document(self, file: Path, *, strict: bool) -> dict[str, Any]:
        """The same for programs."""
        parts: dict[str, Any] = {
            f"{weight}s": [
                {
                    "file": one.source or str(file),
                    "line": one.line or None,
                    "path": one.path,
                    "message": one.message.partition("; ")[0],
                    "mend": one.mend,
                }
                for other, one in self.findings
                if other is weight
            ]
            for weight in Weight
        }
        names = None if self.plan is None else list(self.plan.processes)
        passed = self.plan is not None and not (strict and self.warned)
        return {"plan": str(file), "passed": passed, "processes": names, **parts}


def read_plan(file: Path, environ: Mapping[str, str], changes: Path | None = None) -> Layers:
    """The plan of a file that a person named, with what was saved beside it, or in `changes`.

    Raises:
        CommandError: it cannot be read, or could not work; names every fault on a line of its own.
    """
    source = PlanFile(file, environ, read_text(file), changes=changes)
    try:
        return source.load()
    except PlanError as error:
        faults = "\n".join(f"  {finding}" for finding in error.findings)
        raise CommandError(f"cannot use the plan {file}:\n{faults}", code=2) from error


def examine(file: Path, environ: Mapping[str, str], changes: Path | None = None) -> Examined:
    """As :func:`read_plan`, with faults and advice as values.

    Raises:
        CommandError: the file cannot be read.
    """
    return _examined(PlanFile(file, environ, read_text(file), changes=changes).reading, as_root=os.geteuid() == 0)


def examine_text(text: str, environ: Mapping[str, str], folder: Path | None, *, as_root: bool = False) -> Examined:
    """What is to be said about a plan's text; `as_root` tells whether it would run as root."""
    return _examined(lambda: reading(text, environ, folder), as_root=as_root)


def _examined(read: Callable[[], Reading], *, as_root: bool) -> Examined:
    try:
        found = read()
    except PlanError as error:
        return Examined(None, tuple((Weight.ERROR, one) for one in error.findings))
    advice = [
        (one.weight, found.finding(one.path, one.message)) for one in advise(found.plan, found.sources, as_root=as_root)
    ]
    order = list(Weight)
    return Examined(found.plan, tuple(sorted(advice, key=lambda one: (order.index(one[0]), one[1]))))


def read_text(file: Path) -> str:
    """The text of a file that a person named.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        return text_in(file, pipes=True)
    except OSError as error:
        raise CommandError(f"cannot read the plan {file}: {error.strerror}", code=2) from error
    except ValueError as error:
        raise CommandError(f"cannot read the plan {file}: {error}", code=2) from error
