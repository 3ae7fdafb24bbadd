"""Hold a unix socket alone: one live server for each path, and a stale socket is replaced."""

import errno
import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from millrace.config.errors import SettingError
from millrace.programs.http.listen import BACKLOG

_MODE = 0o600
_SHARED_MODE = 0o666


class UnixSocket:
    """A listening socket of mode 0600, or 0666 where it is shared.

    A lock on a file beside it, which the kernel lets go of when its holder ends in whatever way, tells a live holder from
    one that is gone; asking the socket alone would let two that start together both replace a stale one.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        """Take the path. `shared`: every user may come, and is asked who it is.

        Raises:
            SettingError: a live server holds it, or nothing can be put there.
        """
        self.path = path
        self._mode = _SHARED_MODE if shared else _MODE
        lock_path = path.with_name(path.name + ".lock")
        try:
            self._lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        except OSError as error:
            raise SettingError(
                f"cannot put the control socket at {path}: {error.strerror}; name another place with --socket"
            ) from error
        try:
            self._take()
        except BaseException:
            os.close(self._lock)
            raise

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise self._held() from error
        self._clear()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o777 & ~self._mode)
        try:
            self.socket.bind(str(self.path))
            self.socket.listen(BACKLOG)
            self.socket.setblocking(False)
            self._inode = self.path.lstat().st_ino
        except OSError as error:
            self.socket.close()
            reason = error.strerror or f"{error}, which is a limit of the system (unix(7))"
            raise SettingError(
                f"cannot put the control socket at {self.path}: {reason}; name another place with --socket"
            ) from error
        finally:
            os.umask(before)

    def _clear(self) -> None:
        """Remove a socket on which nobody answers; refuse to remove anything else."""
        with suppress(FileNotFoundError):
            if not self.path.is_socket():
                self.path.lstat()
                raise SettingError(
                    f"cannot put the control socket at {self.path}: something that is no socket is there; "
                    "remove it, or name another place with --socket"
                )
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.setblocking(False)
                # EAGAIN: somebody listens who is too busy to take us at once.
                if probe.connect_ex(str(self.path)) in (0, errno.EAGAIN, errno.EINPROGRESS):
                    raise self._held()
            self.path.unlink()

    def _held(self) -> SettingError:
        return SettingError(
            f"cannot put the control socket at {self.path}: another supervisor that runs holds it; "
            "stop that one, or name another place with --socket"
        )

    def close(self) -> None:
        """Let go of the path; the file of the lock stays, for whoever waits for it already has it open."""
        self.socket.close()
        with suppress(OSError):
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()
        os.close(self._lock)
