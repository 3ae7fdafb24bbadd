"""Where a server's connections come in, and how many may be inside, of one address and of all: a flood is refused before it uses
up every descriptor, and whoever comes from elsewhere still finds a place.

An event loop's own server takes every connection that comes. This one counts those that are open, whatever they do, from
before their TLS handshake on.
"""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Callable

from millrace.edge.access import place_of
from millrace.edge.shares import Shares

MOST = 10_000
"""Connections of one server. A worker holds two or three; each costs some 20 KB, and up to 64 KiB while a head arrives."""
_AT_ONCE = 64
"""Connections taken in one turn of the event loop, so that a crowd outside does not hold up those inside."""


def most_connections() -> int:
    """How many connections this process may have: a quarter of its descriptors is for files, and for the database."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(min(MOST, soft * 3 // 4), 1)


class Door:
    """A listening socket with so many places behind it."""

    def __init__(
        self,
        listening: socket.socket,
        most: int,
        *,
        full: bytes,
        crowded: bytes,
        greeting_s: float,
        parting_s: float,
    ) -> None:
        """The socket becomes the door's.

        Args:
            listening: bound and listening.
            most: places.
            full: what is said to whom there is no place for; not over TLS, which nobody speaks before a handshake.
            crowded: what is said to whom too many have come from the same address.
            greeting_s: seconds for a TLS handshake.
            parting_s: seconds for a TLS farewell.
        """
        listening.setblocking(False)
        self.most = most
        self._listening = listening
        self._full = full
        self._crowded = crowded
        self._shares = Shares(most)
        self._greeting_s = greeting_s
        self._parting_s = parting_s
        self._inside: dict[asyncio.Protocol, str] = {}  # from where; empty on a unix socket
        self._greetings: set[asyncio.Task[None]] = set()
        self._refused = 0
        self._is_resting = False
        self._make: Callable[[], asyncio.Protocol] | None = None
        self._stir: Callable[[], None] = lambda: None
        self._tls: Callable[[], ssl.SSLContext] | None = None

    def open(
        self,
        make: Callable[[], asyncio.Protocol],
        tls: Callable[[], ssl.SSLContext] | None,
        stir: Callable[[], None] = lambda: None,
    ) -> None:
        """Let in who comes; `make` gives each connection's protocol, which calls `leave` when it is lost. `tls` is asked for
        each of them, so that certificates may change. `stir` is called when the door is `quiet` no longer.
        """
        self._make, self._tls, self._stir = make, tls, stir
        asyncio.get_running_loop().add_reader(self._listening, self._come)

    def close(self) -> None:
        """Let nobody in any more, also not who is being greeted. May be called twice."""
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        for greeting in self._greetings:
            greeting.cancel()

    def leave(self, connection: asyncio.Protocol) -> None:
        """A connection is lost, and its place is free."""
        if owner := self._inside.pop(connection, ""):
            self._shares.give_back(owner)

    def look(self) -> int:
        """Once a second: how many were refused since the last time. Opens again after the machine had no descriptor left."""
        if self._is_resting and self._listening.fileno() >= 0:
            self._is_resting = False
            asyncio.get_running_loop().add_reader(self._listening, self._come)
        refused, self._refused = self._refused, 0
        return refused

    @property
    def quiet(self) -> bool:
        """Whether nobody is inside, and `look` would have nothing to do."""
        return not (self._inside or self._refused or self._is_resting)

    def _come(self) -> None:
        quiet = self.quiet
        self._take()
        if quiet and not self.quiet:
            self._stir()

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor is left. The loop would say at once again that somebody is there; `look` does later.
                self._refused += 1
                self._is_resting = True
                asyncio.get_running_loop().remove_reader(self._listening)
                return
            owner = place_of(address[0]) if isinstance(address, tuple) else ""
            if len(self._inside) >= self.most:
                self._refuse(accepted, self._full)
            elif owner and not self._shares.take(owner):
                self._refuse(accepted, self._crowded)
            else:
                self._let_in(accepted, owner)
                continue
            return  # one for each turn of the loop, so that a flood leaves those inside their share

    def _let_in(self, accepted: socket.socket, owner: str) -> None:
        if self._make is None:
            raise AssertionError("nobody comes before the door is open")
        connection = self._make()
        self._inside[connection] = owner
        greeting = asyncio.get_running_loop().create_task(self._greet(connection, accepted))
        self._greetings.add(greeting)
        greeting.add_done_callback(self._greetings.discard)

    async def _greet(self, connection: asyncio.Protocol, accepted: socket.socket) -> None:
        greeting_s, parting_s = (self._greeting_s, self._parting_s) if self._tls else (None, None)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._tls() if self._tls is not None else None,
                ssl_handshake_timeout=greeting_s,
                ssl_shutdown_timeout=parting_s,
            )
        except OSError:  # no handshake, a wrong one, or none in time
            self.leave(connection)
        except BaseException:
            self.leave(connection)
            raise

    def _refuse(self, accepted: socket.socket, word: bytes) -> None:
        self._refused += 1
        with accepted:
            accepted.setblocking(False)
            if self._tls is None:
                with contextlib.suppress(OSError):
                    accepted.send(word)
                    # What was not read would turn the close into a reset, which overtakes the answer.
                    accepted.recv(1 << 16)
