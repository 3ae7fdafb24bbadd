"""Bugs that are planted to see that the simulation finds them. The product knows nothing of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from sim.bugs.bug import Bug
from sim.bugs.of_masters import BUGS as OF_MASTERS
from sim.bugs.of_stores import BUGS as OF_STORES
from sim.bugs.of_workers import BUGS as OF_WORKERS
from sim.world import replaced

ALL: dict[str, Bug] = {bug.name: bug for bug in (*OF_STORES, *OF_MASTERS, *OF_WORKERS)}
"""Every planted bug by its name."""


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The product has this bug while the block runs."""
    with replaced(bug.plant()):
        yield


__all__ = ["ALL", "Bug", "planted"]
