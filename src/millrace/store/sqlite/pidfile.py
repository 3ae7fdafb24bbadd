"""One process for each embedded database: an exclusive lock on a file beside it, which names the holder."""

import fcntl
import os
from pathlib import Path
from typing import Self

from millrace.store.store import StoreBusyError


class PidFile:
    """A held lock. The file stays when it is released: removing it would race with the next holder."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, database: Path) -> Self:
        """Lock ``<database>.pid`` and write this process's id into it.

        The kernel frees the lock with the process, however it ends.

        Raises:
            StoreBusyError: another process holds it.
        """
        path = database.with_name(database.name + ".pid")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreBusyError(
                f"cannot open the database {database}: the process with pid {holder} holds it; stop that one first"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let the next process in."""
        os.close(self._descriptor)
