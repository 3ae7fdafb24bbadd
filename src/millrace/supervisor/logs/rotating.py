"""A log file that begins anew when it is large or old enough."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from millrace.supervisor.logs.settings import LogFile
from millrace.supervisor.logs.writer import CannotWrite


def shifts(path: Path, keep: int) -> Sequence[tuple[Path, Path]]:
    """What is to be renamed, in order, so that `path` is free: web.log becomes web.log.1, that web.log.2, up to `keep`."""
    names = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, keep + 1))]
    return [(names[index], names[index + 1]) for index in reversed(range(keep))]


class RotatingFile:
    """Appends whole chunks; a chunk may make it larger than the limit only when it is the first."""

    def __init__(self, rule: LogFile, *, wall_s: Callable[[], float], mode: int = 0o640) -> None:
        """Open it; `wall_s` tells seconds since 1970. The age of a file that is there already counts from its last change.

        Raises:
            OSError: it cannot be written.
        """
        self._rule = rule
        self._wall_s = wall_s
        self._mode = mode
        self._number: int | None = None
        self._size = 0
        self._began_s = 0.0
        self._open()

    @property
    def is_file(self) -> bool:
        """It is."""
        return True

    def write(self, data: bytes) -> None:
        """Append it, to a new file where it is time for one."""
        written = 0
        try:
            if self._is_due(len(data)):
                self._rotate()
            number = self._open() if self._number is None else self._number
            while written < len(data):
                count = os.write(number, data[written:])
                written += count
                self._size += count
        except OSError as error:
            raise CannotWrite(error, written) from error

    def close(self) -> None:
        """Close it."""
        if self._number is not None:
            os.close(self._number)
            self._number = None

    def _is_due(self, more: int) -> bool:
        too_old = self._rule.max_age_s > 0 and self._wall_s() - self._began_s >= self._rule.max_age_s
        return self._size > 0 and (too_old or self._size + more > self._rule.max_bytes)

    def _rotate(self) -> None:
        self.close()
        path, keep = self._rule.path, self._rule.keep
        if not keep:
            path.unlink(missing_ok=True)
        for old, new in shifts(path, keep):
            if old.exists():
                old.replace(new)

    def _open(self) -> int:
        number = os.open(
            self._rule.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, self._mode
        )
        found = os.fstat(number)
        self._number, self._size = number, found.st_size
        self._began_s = found.st_mtime if found.st_size else self._wall_s()
        return number
