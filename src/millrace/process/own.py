"""Which children of this process somebody waits for, and whether orphans come to it.

Whatever else is a child of ours came to us when its parent died.
"""

from collections.abc import Iterable

_pids: set[int] = set()  # of the whole process, as the children are
_adopting: list[bool] = [False]


def claim(pid: int) -> None:
    """From the spawn on: nobody else collects it."""
    _pids.add(pid)


def release(pid: int) -> None:
    """It was collected, or never will be by whoever started it."""
    _pids.discard(pid)


def claimed(pid: int) -> bool:
    """Whether somebody waits for it."""
    return pid in _pids


def unclaimed(pids: Iterable[int]) -> list[int]:
    """Those that nobody waits for."""
    return [pid for pid in pids if pid not in _pids]


def adopt(*, yes: bool) -> None:
    """From now on, or no longer, everything that descends from our children stays below us, whatever it does."""
    _adopting[0] = yes


def adopts() -> bool:
    """Whether it does; then nobody has to look further than below us."""
    return _adopting[0]
