"""The socket to which one instance says how it goes, sd_notify(3). Believed is only its own tree."""

import array
import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from millrace.runtime.clock import Clock

MAX_DATAGRAM_BYTES = 8192
BURST, PAUSE_S = 8, 0.01
"""So many datagrams are read at once, and then others get their turn: a flood costs its sender time, not us."""
_CREDENTIALS = struct.Struct("3i")  # struct ucred, unix(7)
_MAX_DESCRIPTORS = 253  # SCM_MAX_FD, unix(7)
_ROOM = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4)


class NotifySocket:
    """Open until `close`. `path` is what NOTIFY_SOCKET names."""

    def __init__(self, path: Path, *, uid: int | None) -> None:
        """Only `uid` (None: we) and root can send to it. Raises OSError where there can be none."""
        self.path = path
        self._watched_by: asyncio.AbstractEventLoop | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            path.unlink(missing_ok=True)
            self._socket.bind(str(path))
            path.chmod(0o600)
            if uid is not None:
                os.chown(path, uid, -1)
        except BaseException:
            self.close()
            raise

    async def listen(self, believe: Callable[[int], bool], heard: Callable[[bytes], None], clock: Clock) -> None:
        """Give each datagram of a sender whose pid is believed to `heard`, until cancelled.

        A sender is asked about at once, while a tool that only sends and ends is still there: `systemd-notify` waits until
        the descriptor of its BARRIER=1 is closed. No descriptor is kept (FDSTORE is not done).
        """
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        while True:
            readable.clear()
            loop.add_reader(self._socket, readable.set)
            self._watched_by = loop
            try:
                await readable.wait()
            finally:
                self._unwatch()
            for _ in range(BURST):
                try:
                    data, extra, _, _ = self._socket.recvmsg(MAX_DATAGRAM_BYTES, _ROOM, socket.MSG_CMSG_CLOEXEC)
                except BlockingIOError:
                    break
                pid, descriptors = _read(extra)
                try:
                    if pid and believe(pid):
                        heard(data)
                finally:
                    for descriptor in descriptors:
                        os.close(descriptor)
            else:
                await clock.sleep(PAUSE_S)

    def close(self) -> None:
        """Nobody can say anything any more."""
        self._unwatch()
        self._socket.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _unwatch(self) -> None:
        """Before it is closed: afterwards its number may be another's."""
        if self._watched_by is not None:
            self._watched_by.remove_reader(self._socket)
            self._watched_by = None


def _read(extra: Iterable[tuple[int, int, bytes]]) -> tuple[int, list[int]]:
    """The pid of the sender, as the kernel vouches for it (0: none that we can see), and the descriptors that came along."""
    pid, descriptors = 0, array.array("i")
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
            pid = _CREDENTIALS.unpack_from(data)[0]
        elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) // 4 * 4])
    return pid, list(descriptors)
