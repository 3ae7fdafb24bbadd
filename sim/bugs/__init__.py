"""Bugs that are planted to see that the simulation finds them. The product knows nothing of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sim.bugs.bug import Bug
from sim.bugs.of_many import BUGS as OF_MANY
from sim.bugs.of_masters import BUGS as OF_MASTERS
from sim.bugs.of_stores import BUGS as OF_STORES
from sim.bugs.of_workers import BUGS as OF_WORKERS
from sim.world import replaced

ALL: dict[str, Bug] = {bug.name: bug for bug in (*OF_STORES, *OF_MANY, *OF_MASTERS, *OF_WORKERS)}
"""Every planted bug by its name."""
FOUND_BY = Path(__file__).with_name("found_by.json")
"""For each, the first seed from 0 on that finds it; `python -m sim --find` writes it."""
WITHIN = 400
"""Seeds, from 0 on, within which each is found."""


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The product has this bug while the block runs."""
    with replaced(bug.plant()):
        yield


def found_by() -> dict[str, int]:
    """The first seed that finds each bug."""
    seeds: dict[str, int] = json.loads(FOUND_BY.read_text()) if FOUND_BY.exists() else {}
    return seeds


__all__ = ["ALL", "FOUND_BY", "WITHIN", "Bug", "found_by", "planted"]
