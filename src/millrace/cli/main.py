"""Where the program begins: nothing is imported before Ctrl-C is heeded, because the imports take most of the start."""

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command that the arguments name."""
    # A closed stdout or stderr (`>&-`) is None in Python, and whoever writes to it would fail.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115  lives as long as the program
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    try:
        if _keeps_a_plan(sys.argv[1:]):
            from millrace.cli.lean import run  # noqa: PLC0415  see the module
        else:
            from millrace.cli.app import run  # noqa: PLC0415
        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _keeps_a_plan(arguments: list[str]) -> bool:
    """Whether this is going to be a supervisor, as far as can be told without reading the command line. Either way works."""
    return arguments[:1] == ["supervise"] and any(word.startswith(("-c", "--config")) for word in arguments[1:])
