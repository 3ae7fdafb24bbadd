"""The program that reads a plan for a supervisor (see `plan_apart`): what is asked, the path, where changes are saved, a descriptor, a variable.

The descriptor holds what the question is about, and then what was found.
"""

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

from millrace.process.mark import MARKER
from millrace.supervisor.plans.file import PlanFile
from millrace.supervisor.plans.findings import PlanError


def main() -> None:
    """Read, and write what was found: the layers of the plan, what to save, the paths, or a tuple of findings."""
    what, path, changes, exchange, marker = sys.argv[1:]
    # The mark is ours, and no variable of the plan's; an outer one is.
    environ = {name: value for name, value in os.environ.items() if name != MARKER} | (
        {MARKER: marker} if marker else {}
    )
    source = PlanFile(Path(path), environ, changes=Path(changes))
    questions: dict[str, Callable[..., object]] = {"plan": source.load, "saving": source.saving, "files": source.files}
    ask = questions[what]
    with open(int(exchange), "r+b") as file:  # noqa: PTH123  a descriptor
        file.seek(0)
        about = pickle.load(file)  # noqa: S301  from the supervisor that has started us
        found: object
        try:
            found = ask(*about)
        except PlanError as error:
            found = error.findings
        file.seek(0)
        file.truncate()
        pickle.dump(found, file)


if __name__ == "__main__":
    main()
