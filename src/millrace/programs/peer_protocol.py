"""HTTP on a unix socket: the kernel tells who calls (SO_PEERCRED, unix(7)), and the app finds it in the client's name."""

import asyncio
import socket
import struct

from millrace.programs.http_protocol import HttpProtocol
from millrace.supervisor.control.app import UID

_UCRED = struct.Struct("iII")


class PeerProtocol(HttpProtocol):
    """One connection of a user of this machine; `client` is `uid:NUMBER` and the pid."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its own
        """A client has come."""
        super().connection_made(transport)
        peer: socket.socket = transport.get_extra_info("socket")
        pid, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        self.client = (f"{UID}{uid}", pid)
