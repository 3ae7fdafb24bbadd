"""A bound on the connections of a server, so that a flood of them is refused instead of using up every descriptor.

It holds where connections are accepted, before any handshake: each one that is open counts, whatever it does.
"""

import contextlib
import errno
import resource
import socket
from typing import Any
from weakref import WeakSet

MOST = 10_000
"""Connections of one server. A worker holds two or three; each costs some 20 KB, and up to 64 KiB while a head arrives."""


def most_connections() -> int:
    """How many connections this process may have: a quarter of its descriptors is for files, and for the database."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(min(MOST, soft * 3 // 4), 1)


class _Connection(socket.socket):
    """An accepted connection that gives its place back when it is closed."""

    __slots__ = ("_taken",)

    def __init__(self, accepted: socket.socket, taken: "WeakSet[_Connection]") -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self._taken = taken
        taken.add(self)

    def close(self) -> None:
        self._taken.discard(self)
        super().close()


class Places(socket.socket):
    """A listening socket that has so many places and no more."""

    def __init__(self, listening: socket.socket, most: int, *, full: bytes) -> None:
        """Takes the socket's place. `full` is said to whom there is no place for."""
        super().__init__(listening.family, listening.type, listening.proto, fileno=listening.detach())
        self.setblocking(False)
        self.most = most
        self.refused = 0
        self._full = full
        self._taken: WeakSet[_Connection] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            BlockingIOError: there is none, or it was refused: one for each turn of the event loop, so that a flood leaves
                the connections that are open their share.
        """
        accepted, address = super().accept()
        if len(self._taken) < self.most:
            return _Connection(accepted, self._taken), address
        self.refused += 1
        with accepted:
            accepted.setblocking(False)
            with contextlib.suppress(OSError):
                accepted.send(self._full)
                # What was not read would turn the close into a reset, which overtakes the answer.
                accepted.recv(1 << 16)
        raise BlockingIOError(errno.EAGAIN, "there is no place for this connection")
