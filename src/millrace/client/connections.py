"""Connections that block: opened where needed, kept while they are fresh, thrown away where anything went wrong."""

import functools
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from millrace.client.calls import Answer, Call, FileSlice
from millrace.client.errors import InterruptedTransferError
from millrace.client.http import FRESH_S, KEPT, Terms, breaking, headers
from millrace.client.http1 import READ_BYTES, Lines, Origin, Reading, head


class Response:
    """An answer whose head is here and whose body is read bit by bit. What breaks off raises LineError."""

    def __init__(self, line: socket.socket, reading: Reading, begun: list[bytes], keep: Callable[[], None]) -> None:
        """`begun` is what has come of the body already; `keep` takes the connection for another request."""
        self._line = line
        self._reading = reading
        self._begun = begun
        self._keep = keep
        self._closed = False
        self.status = reading.status
        self.headers: Mapping[str, str] = reading.headers

    @property
    def head(self) -> Answer:
        """The answer without its body."""
        return Answer(status=self.status, headers=self.headers, body=b"")

    def whole(self) -> Answer:
        """All of it."""
        try:
            return Answer(status=self.status, headers=self.headers, body=b"".join(self.pieces()))
        finally:
            self.close()

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes."""
        yield from self._begun
        while not self._reading.ended:
            yield from _more(self._line, self._reading)

    def lines(self) -> Iterator[str]:
        """The body as lines of text; what comes after the last line end is left out."""
        lines = Lines()
        for piece in self.pieces():
            yield from lines.feed(piece)

    def close(self) -> None:
        """Done with it, read to its end or not. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._reading.ended and self._reading.reusable:
            self._keep()
        else:
            self._line.close()


def _more(line: socket.socket, reading: Reading) -> list[bytes]:
    with breaking(sent=True):
        data = line.recv(READ_BYTES)
        if data:
            return reading.feed(data)
        reading.close()
        return []


class Connections:
    """To any number of masters, for any number of threads."""

    def __init__(self, terms: Terms, tls: ssl.SSLContext | None, place: Path | None) -> None:
        """`tls` verifies certificates; `place` is a unix socket behind which all masters are."""
        self._terms = terms
        self._tls = tls
        self._place = place
        self._headers = headers(terms)
        self._lock = threading.Lock()
        self._idle: list[tuple[str, float, socket.socket]] = []

    def close(self) -> None:
        """Close those that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, _, line in idle:
            line.close()

    def begin(self, base: str, call: Call[object]) -> Response:
        """Send a call and wait for the head of its answer, which the caller closes.

        Raises:
            LineError: no answer came.
            InterruptedTransferError: the file that is to be sent became shorter.
            OSError: it cannot be read.
        """
        origin = Origin.of(base)
        request = head(call, origin, self._headers)
        line = self._fresh(base)
        if line is None:
            with breaking(sent=False):
                line = self._open(origin)
        try:
            line.settimeout(call.silence_s)
            for piece in outgoing(request, call.body):
                if not _sent(line, piece):
                    break
            reading, begun = Reading(), list[bytes]()
            while not reading.headed:
                begun += _more(line, reading)
        except BaseException:
            line.close()
            raise
        return Response(line, reading, begun, functools.partial(self._keep, base, line))

    def _fresh(self, base: str) -> socket.socket | None:
        """An idle connection to this master on which nothing has happened."""
        with self._lock:
            kept, self._idle = self._idle, []
            found = None
            for one in reversed(kept):
                if time.monotonic() - one[1] > FRESH_S or _has_news(one[2]):
                    one[2].close()  # closed at the other end, or it said what nobody asked for
                elif one[0] == base and found is None:
                    found = one[2]
                else:
                    self._idle.insert(0, one)
        return found

    def _keep(self, base: str, line: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < KEPT:
                self._idle.append((base, time.monotonic(), line))
                return
        line.close()

    def _open(self, origin: Origin) -> socket.socket:
        limit_s = self._terms.connect_timeout_s
        if self._place is not None:
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            line = socket.create_connection((origin.host, origin.port), limit_s)
        try:
            if self._place is not None:
                line.settimeout(limit_s)
                line.connect(str(self._place))
            else:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if origin.secure and self._tls is not None:
                return self._tls.wrap_socket(line, server_hostname=origin.host)
        except BaseException:
            line.close()
            raise
        return line


def _has_news(line: socket.socket) -> bool:
    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(0))


def _sent(line: socket.socket, data: bytes) -> bool:
    """Whether the other end takes more. Who refuses a body may close before it has come, and its answer is worth more than the error."""
    with breaking(sent=True):
        try:
            line.sendall(data)
        except ConnectionError:
            return False
        return True


def outgoing(request: bytes, body: bytes | FileSlice) -> Iterator[bytes]:
    """A request in pieces. Raises InterruptedTransferError where a file is shorter than was said, OSError where it cannot be read."""
    if isinstance(body, bytes):
        yield request + body
        return
    with body.path.open("rb") as file:
        file.seek(body.offset)
        yield request
        left = body.length
        while left > 0:
            piece = file.read(min(left, READ_BYTES))
            if not piece:
                raise InterruptedTransferError(f"cannot send {body.path}: it became shorter while it was read")
            left -= len(piece)
            yield piece
