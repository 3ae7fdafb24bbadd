"""Where the program begins: nothing is imported before Ctrl-C is heeded, because the imports take most of the start."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from millrace.cli.app import run  # noqa: PLC0415  see the module

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
