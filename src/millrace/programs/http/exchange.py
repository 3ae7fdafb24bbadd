"""One HTTP/1.1 request and its answer, as an application sees them: `receive` and `send` of ASGI 3, and a message of our own
for an answer that is there as a whole.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol

from millrace.edge.call import WHOLE, Header
from millrace.programs.http.last_words import FAILED
from millrace.telemetry.logs import logger

log = logger("http")

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

BODY_AHEAD = 64 << 10
"""Bytes of a body that are taken before anybody asks for them."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CLOSE = b"connection: close\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_WITHOUT_BODY = frozenset({204, 304})
_GONE: Message = {"type": "http.disconnect"}


class Line(Protocol):
    """The connection that an exchange belongs to."""

    transport: asyncio.Transport
    writable: asyncio.Event | None
    """Set when the client takes bytes again; None while it does."""

    def hold(self) -> None:
        """Take no more bytes from the client for now."""

    def go_on(self) -> None:
        """Take them again."""

    def write(self, data: bytes) -> None:
        """Send something, now."""

    def write_soon(self, data: bytes) -> None:
        """Send something with what else is sent in this turn of the event loop, after it."""

    def close(self) -> None:
        """Hang up after what was sent."""

    def answered(self, exchange: "Exchange") -> None:
        """The whole answer was written."""

    def ended(self, exchange: "Exchange") -> None:
        """The application is done with it."""


class Exchange:
    """The body as it comes in, and the answer as it goes out.

    The head of an answer whose length is known waits for the first piece of the body, so that a small answer is one write:
    each is a system call that lets go of the interpreter's lock, and the way back costs more than all else that it needs.
    """

    __slots__ = (
        "_chunked", "_coming", "_head", "_left", "_line", "_news", "_pieces", "_silent", "_size", "awaits_go_ahead", "complete",
        "gone", "keep_alive", "scope", "started", "whole",
    )  # fmt: skip

    def __init__(self, line: Line, scope: Message, *, keep_alive: bool, awaits_go_ahead: bool) -> None:
        """`awaits_go_ahead`: the client sends its body only after 100 Continue (RFC 9110, 10.1.1)."""
        self._line = line
        self.scope = scope
        self.keep_alive = keep_alive
        self.awaits_go_ahead = awaits_go_ahead
        self.whole = False  # the request has come to its end
        self.gone = False  # nobody is there any more
        self.started = False  # the answer has a status
        self.complete = False  # and an end
        self._pieces: list[bytes] = []
        self._size = 0
        self._news = False  # a piece or the end came since the application last asked
        self._coming: asyncio.Event | None = None
        self._head = b""
        self._left: int | None = None  # bytes of the answer's body that are to come, where its length is known
        self._chunked = False
        self._silent = False  # an answer without a body, whatever the application gives

    # What the connection tells ----------------------------------------------------------------------------------------

    def take(self, body: bytes) -> None:
        """Part of the request's body. Nobody wants it once the answer is written."""
        if self.complete:
            return
        self._pieces.append(body)
        self._size += len(body)
        if self._size > BODY_AHEAD:
            self._line.hold()
        self._tell()

    def end(self) -> None:
        """The request is whole."""
        self.whole = True
        self._tell()

    def lose(self) -> None:
        """The client is gone."""
        self.gone = True
        self._tell()

    def _tell(self) -> None:
        self._news = True
        if self._coming is not None:
            self._coming.set()

    # What the application does ----------------------------------------------------------------------------------------

    async def run(self, app: App) -> None:
        """Let the application answer; whatever it does, the client gets an answer or an end."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001  the last line of defence
            path = self.scope["path"]
            log.error("http.failed", exc=error, method=self.scope["method"], path=path)  # noqa: TRY400  it takes the error
        finally:
            if not (self.complete or self.gone):
                self._write(b"" if self.started else FAILED)
                self._line.close()
            self._line.ended(self)

    async def receive(self) -> Message:
        """The next part of the body; `http.disconnect` when the client hung up or has its answer."""
        if self.awaits_go_ahead:
            self.awaits_go_ahead = False
            if not self._line.transport.is_closing():
                self._line.write(_CONTINUE)
        while not (self._news or self.gone or self.complete):
            self._line.go_on()
            self._coming = self._coming or asyncio.Event()
            self._coming.clear()
            await self._coming.wait()
        if self.gone or self.complete:
            return _GONE
        self._news = False
        pieces, self._pieces, self._size = self._pieces, [], 0
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    async def send(self, message: Message) -> None:
        """The head of the answer, then its body in as many pieces as the application likes; or all of it."""
        if self._line.writable is not None and not self.gone:
            await self._line.writable.wait()
        if self.gone:
            return
        if message["type"] == WHOLE:
            self._answer(message["status"], message["shared"], message["headers"], message["body"])
        elif self.started:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))
        else:
            self._begin(message["status"], message.get("headers", ()))

    def _answer(self, status: int, shared: tuple[Header, ...], headers: Iterable[Header], body: bytes) -> None:
        """A whole answer: the most frequent, and the cheapest."""
        if self.started:
            raise ValueError("cannot send a whole answer: it has begun")
        head = _opening(status, shared)
        for name, value in headers:
            if name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
            else:
                head += _header_line(name, value)
        if not self.keep_alive:
            head += _CLOSE
        if status in _WITHOUT_BODY:
            data = head + b"\r\n"
        elif self.scope["method"] == "HEAD":
            data = b"%scontent-length: %d\r\n\r\n" % (head, len(body))
        else:
            data = b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)
        self.started = self.complete = True
        self.awaits_go_ahead = False
        self._tell()
        self._line.write_soon(data)
        self._line.answered(self)

    def _begin(self, status: int, headers: Iterable[Header]) -> None:
        head = _STATUS_LINES[status]
        for name, value in headers:
            if name == b"content-length":
                self._left = int(value)
            if name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
            else:
                head += _header_line(name, value)
        self._silent = self.scope["method"] == "HEAD" or status in _WITHOUT_BODY
        # Before HTTP/1.1 the end of the connection is the end of the answer.
        self._chunked = self._left is None and not self._silent and self.scope["http_version"] == "1.1"
        if self._chunked:
            head += b"transfer-encoding: chunked\r\n"
        if not self.keep_alive:
            head += _CLOSE
        self._head = head + b"\r\n"
        self.started = True
        self.awaits_go_ahead = False
        if self._left is None and not self._silent:
            # Nobody knows when the first piece of a stream comes.
            self._write(b"")

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if self.complete:
            raise ValueError("cannot send more: the answer has ended")
        if self._silent:
            body = b""
        elif self._chunked:
            body = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise ValueError("cannot send the answer: its body is not as long as its head says")
        self._write(body)
        if not more:
            self.complete = True
            self._tell()
            self._line.answered(self)

    def _write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self._line.write(data)


@lru_cache(maxsize=256)
def _opening(status: int, shared: tuple[Header, ...]) -> bytes:
    """How all answers with these headers begin."""
    return _STATUS_LINES[status] + b"".join([_header_line(name, value) for name, value in shared])


def _header_line(name: bytes, value: bytes) -> bytes:
    line = b"%s: %s\r\n" % (name, value)
    if line.count(b"\n") != 1 or line.count(b"\r") != 1 or b"\0" in line:
        raise ValueError(f"cannot send the header {name!r}: {value!r} is more than a line")
    return line
