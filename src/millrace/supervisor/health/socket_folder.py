"""The folder of the sockets to which processes say how they are; what a killed supervisor left is swept away."""

import fcntl
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PREFIX = "millrace-notify-"
_ATTEMPTS = 5


class SocketFolder:
    """A fresh folder; others may pass through it, and see nothing. It is locked as long as we live, so that it stays."""

    def __init__(self, candidates: Iterable[Path]) -> None:
        """Take the first place that lets us, or the one for temporary files. Raises OSError where none does."""
        refused: OSError | None = None
        for place in (*candidates, Path(tempfile.gettempdir())):
            try:
                self.path, self._lock = _made(place)
            except OSError as error:
                refused = refused or error
            else:
                return
        raise refused or OSError("there is no place for sockets")

    def close(self) -> None:
        """Remove it, with what is in it."""
        _remove(self.path)
        os.close(self._lock)


def _made(place: Path) -> tuple[Path, int]:
    _sweep(place)
    for _ in range(_ATTEMPTS):
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        path.chmod(0o711)
        lock = _locked(path)
        # Between the two another supervisor may have taken it for a leftover.
        if lock is not None and path.is_dir():
            return path, lock
        if lock is not None:
            os.close(lock)
    raise OSError(f"others remove what is made in {place}")


def _sweep(place: Path) -> None:
    """What is ours and nobody holds the lock of was left by a supervisor that was killed."""
    for path in place.glob(f"{_PREFIX}*"):
        lock = _locked(path)
        if lock is not None:
            _remove(path)
            os.close(lock)


def _locked(path: Path) -> int | None:
    """A descriptor with the lock; None where somebody has it, or the folder is not ours. A process that ends gives it up."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _remove(path: Path) -> None:
    with suppress(OSError):
        for inside in path.iterdir():
            inside.unlink()
        path.rmdir()
