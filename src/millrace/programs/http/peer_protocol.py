"""HTTP on a unix socket: the kernel tells who calls (SO_PEERCRED and SO_PEERGROUPS, unix(7)), and the app finds it in the scope."""

import asyncio
import socket
import struct

from millrace.edge.access import PEER, Peer
from millrace.programs.http.protocol import HttpProtocol

_UCRED = struct.Struct("iII")
_SO_PEERGROUPS = 59  # <asm-generic/socket.h>; the socket module has no name for it
_MAX_GROUPS = 65_536  # NGROUPS_MAX


class PeerProtocol(HttpProtocol):
    """One connection of a user of this machine; `client` is `uid:NUMBER` and the pid."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its own
        """A client has come."""
        super().connection_made(transport)
        peer = peer_of(transport.get_extra_info("socket"))
        self.client = (str(peer), peer.pid)
        self.app_state = {PEER: peer}


def peer_of(connected: socket.socket) -> Peer:
    """Who was at the other end when it connected."""
    pid, uid, gid = _UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        raw = connected.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS * 4)
    except OSError:  # before Linux 4.13
        raw = b""
    return Peer(pid, uid, frozenset({gid, *(number for (number,) in struct.iter_unpack("I", raw))}))
