"""The program that reads a plan for a supervisor (see `plan_apart`): `plan` or `files`, the path, where the result goes, a variable."""

import os
import pickle
import sys
from pathlib import Path

from millrace.process.mark import MARKER
from millrace.supervisor.plans.file import PlanFile
from millrace.supervisor.plans.findings import PlanError


def main() -> None:
    """Read, and write what was found: the plan, the paths, or a tuple of findings."""
    what, path, result, marker = sys.argv[1:]
    # The mark is ours, and no variable of the plan's; an outer one is.
    environ = {name: value for name, value in os.environ.items() if name != MARKER} | (
        {MARKER: marker} if marker else {}
    )
    source = PlanFile(Path(path), environ)
    found: object
    try:
        found = source.read() if what == "plan" else source.files()
    except PlanError as error:
        found = error.findings
    with open(int(result), "wb") as pipe:  # noqa: PTH123  a descriptor
        pickle.dump(found, pipe)


if __name__ == "__main__":
    main()
