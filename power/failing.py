"""A Millrace program whose database fails as soon as a file is there: `python -m power.failing FILE sync eio master --data farm`."""

import sys
from pathlib import Path

from power.lossy import LossyDisk
from power.pull import FAULTS


def main() -> None:
    """The command line behind the file, the kind of step that fails, and how it fails."""
    told, kind, fault = Path(sys.argv.pop(1)), sys.argv.pop(1), sys.argv.pop(1)

    def step(what: str) -> None:
        if what == kind and told.exists():
            raise FAULTS[fault][0]

    disk = LossyDisk(Path("/nowhere"), Path("/nowhere"), step)
    from millrace.cli.main import main as millrace

    try:
        millrace()
    finally:
        del disk


if __name__ == "__main__":
    main()
