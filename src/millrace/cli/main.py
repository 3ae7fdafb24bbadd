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
        from millrace.cli.app import run  # noqa: PLC0415  see the module

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
