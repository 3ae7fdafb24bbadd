"""`make bench`: measure, print, and keep the figures in docs/benchmarks.md. Never part of the tests.

Usage: python bench/run.py [overhead] [ladder] [film] [plan] [scaling] [queue] [supervise] [spawn] [--runs N]; without names, everything.
"""

import argparse
import compileall
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import farm_queue, media, plan, scaling, spawn, supervise  # noqa: E402  the root has to be on the path first

PAGE = ROOT / "docs" / "benchmarks.md"
SECTIONS: dict[str, Callable[[Path, int], str]] = {
    "overhead": media.overhead,
    "ladder": media.ladder,
    "film": media.film,
    "plan": plan.planning,
    "scaling": scaling.scaling,
    "queue": farm_queue.queue,
    "supervise": supervise.supervise,
    "spawn": spawn.spawn,
}


def machine() -> str:
    """What the figures were measured on, without a name or an address."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def keep(section: str, text: str) -> None:
    """Replace a section's last figures in the page that keeps them."""
    begin, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->\n"
    page = PAGE.read_text()
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2] if rest else ""
    PAGE.write_text(f"{before if rest else page + chr(10)}{begin}{text}{end}{after}")


def main() -> None:
    """Run the sections that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], default=[])
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    # As `make install` leaves it: where bytecode is not kept, every start would compile what was edited since.
    compileall.compile_dir(ROOT / "src", quiet=1)
    for name in given.sections or SECTIONS:
        with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
            text = SECTIONS[name](Path(folder), given.runs)
        print(text, flush=True)
        keep(name, f"{text}\nMeasured on {datetime.now(UTC):%Y-%m-%d}, on {machine()}.\n")


if __name__ == "__main__":
    main()
