"""How much of what was sent its client has taken: asked of the kernel, which takes megabytes for a client that reads nothing."""

import asyncio
import fcntl
import socket
import struct
from contextlib import suppress

_UNSENT = 0x894B
"""SIOCOUTQNSD (linux/sockios.h): bytes in the send queue of a TCP socket for which the other side has had no room yet."""
_ACKED = struct.Struct("@120xQ")
"""`tcpi_bytes_acked` in the kernel's `struct tcp_info` (linux/tcp.h, since Linux 4.1)."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which a close is a reset (socket(7))."""


def waiting(transport: asyncio.Transport) -> int:
    """Bytes that wait for the client, here and in the kernel. What is on its way does not wait; on a unix socket all is there at once."""
    here = transport.get_write_buffer_size()
    number = _descriptor(transport)
    if number < 0:
        return here
    try:
        (beyond,) = struct.unpack("i", fcntl.ioctl(number, _UNSENT, bytes(4)))
    except OSError:
        return here
    return here + int(beyond)


def taken(transport: asyncio.Transport, sent: int, left: int) -> int:
    """A count that grows with each byte that the client takes. `sent` were sent in all, of which `left` are waiting; over TLS that is
    not exact, as records that were made may wait between the two.
    """
    number = _descriptor(transport)
    if number >= 0 and hasattr(socket, "TCP_INFO"):
        with suppress(OSError, struct.error):
            own = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=number)
            try:
                (acknowledged,) = _ACKED.unpack(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size))
            finally:
                own.detach()
            return int(acknowledged)
    return sent - left


def reset(transport: asyncio.Transport) -> None:
    """End the connection, and let the kernel forget at once what it holds for the client."""
    number = _descriptor(transport)
    if number >= 0:
        with suppress(OSError):
            own = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=number)
            try:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            finally:
                own.detach()
    transport.abort()


def _descriptor(transport: asyncio.Transport) -> int:
    """-1 where there is none any more. What uvloop calls a socket knows nothing but this."""
    end = transport.get_extra_info("socket")
    return -1 if end is None else int(end.fileno())
