"""uvicorn's HTTP/1.1 with bounds on what a stranger may send before anybody has looked at a key.

uvicorn collects the request line, the headers and the trailers of a request without end, in memory, for as long as its
sender likes (h11, its other parser, has limits; httptools has none).
"""

import asyncio
import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from millrace.programs.one_write import OneWriteTransport

HEAD_LIMIT = 64 << 10
"""Bytes of a request line with its headers; nginx and Apache allow half of that or less."""
HEAD_PATIENCE_S = 30.0
"""Seconds in which a head that was begun must be whole, and in which a new connection must begin one."""

_PROBLEM = json.dumps(
    {
        "type": "urn:millrace:problem:headers-too-large",
        "title": "Request Header Fields Too Large",
        "status": 431,
        "detail": f"cannot take the request: its path and headers are longer than {HEAD_LIMIT} bytes",
    }
).encode()
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_PROBLEM), _PROBLEM)
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    _kept = 0
    """Bytes received that are no body and belong to nothing complete yet: what the parser holds for us."""
    _in_head = True
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client has come."""
        super().connection_made(OneWriteTransport(transport))  # type: ignore[arg-type]  # it answers to the same calls
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Let the parser look, then see how much of it the parser had to keep."""
        self._kept += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._kept > HEAD_LIMIT:
            self.transport.write(_TOO_LARGE)
            self.transport.close()
        elif self._in_head and self._kept and self._patience is None:
            self._wait_for_head()

    def on_message_begin(self) -> None:
        """A request line begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._kept = 0
        self._head_came()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Part of a body, which has a limit of its own by its route."""
        self._kept = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._kept = 0
        super().on_message_complete()

    def _wait_for_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_PATIENCE_S, self.transport.close)

    def _head_came(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
