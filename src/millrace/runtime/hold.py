"""Hold something alone: an exclusive lock on a file, which names the holder."""

import fcntl
import os
from pathlib import Path
from typing import Self


class HeldError(Exception):
    """Another process holds it; `holder` is its pid, or "unknown"."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"the process with pid {holder} holds it")
        self.holder = holder


class Hold:
    """A held lock. The file stays when it is released: removing it would race with the next holder."""

    def __init__(self, descriptor: int) -> None:
        """Use `take`."""
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, path: Path) -> Self:
        """Lock the file, made where missing, and write this process's id into it.

        The kernel frees the lock with the process, however it ends.

        Raises:
            HeldError: another process holds it.
            OSError: there can be no such file.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise HeldError(holder) from error
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let the next process in. May be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
