"""A Millrace program, with a bug planted or none: `python -m power.planted none master --data farm`."""

import sys


def main() -> None:
    """The command line without its first word, which names the bug."""
    bug = sys.argv.pop(1)
    from millrace.cli.main import main as millrace

    if bug == "none":
        millrace()
        return
    from power.bugs import BUGS

    with BUGS[bug]():
        millrace()


if __name__ == "__main__":
    main()
