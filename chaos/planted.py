"""`python -m chaos.planted BUG ARGUMENTS...`: Millrace with a planted bug, from outside; the product knows nothing of it."""

import sys

from chaos.bugs import ALL


def main() -> None:
    """Plant it and become the program."""
    name, *arguments = sys.argv[1:]
    for owner, attribute, value in ALL[name].plant():
        setattr(owner, attribute, value)
    sys.argv = ["millrace", *arguments]
    from millrace.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
