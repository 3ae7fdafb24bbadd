"""Which children of this process somebody waits for. Whatever else is a child of ours came to us when its parent died."""

_pids: set[int] = set()  # of the whole process, as the children are


def claim(pid: int) -> None:
    """From the spawn on: nobody else collects it."""
    _pids.add(pid)


def release(pid: int) -> None:
    """It was collected, or never will be by whoever started it."""
    _pids.discard(pid)


def claimed(pid: int) -> bool:
    """Whether somebody waits for it."""
    return pid in _pids
