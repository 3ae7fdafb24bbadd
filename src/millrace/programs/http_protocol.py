"""uvicorn's HTTP/1.1 with bounds on what a stranger may send before anybody has looked at a key, and on how long it takes.

uvicorn collects the request line, the headers and the trailers of a request without end, in memory, for as long as its
sender likes (h11, its other parser, has limits; httptools has none), and waits for the rest of a request for ever.
"""

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from millrace.programs.one_write import OneWriteTransport
from millrace.programs.sweep import IDLE_S, PROGRESS_S, READER_S, REQUEST_S, Sweep, body_limit_s

HEAD_LIMIT = 64 << 10
"""Bytes of a request line with its headers; nginx and Apache allow half of that or less."""

# What of a request has come: nothing or a part of its head, its head, all of it.
_HEAD, _BODY, _WHOLE = range(3)
_FILES = frozenset({"PUT", "PATCH"})
"""How files come. Every route that takes one looks at a key before it reads."""


def problem(status: HTTPStatus, slug: str, detail: str, *, header: str = "connection: close") -> bytes:
    """A whole refusal on the wire, for when there is no request that an application could answer."""
    body = json.dumps(
        {"type": f"urn:millrace:problem:{slug}", "title": status.phrase, "status": status.value, "detail": detail}
    ).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n{header}\r\n"
        f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_TOO_LARGE = problem(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "headers-too-large",
    f"cannot take the request: its path and headers are longer than {HEAD_LIMIT} bytes",
)
_SLOW_HEAD = problem(
    HTTPStatus.REQUEST_TIMEOUT,
    "request-timeout",
    f"cannot wait any longer: the request's headers were not whole within {REQUEST_S:g} s",
)
_SLOW_BODY = problem(
    HTTPStatus.REQUEST_TIMEOUT,
    "request-timeout",
    f"cannot wait any longer: the request's body was not whole within {REQUEST_S:g} s",
)
FULL = problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too-many-connections",
    "cannot take another connection: this master has as many as it may; try again soon, or ask another master",
    header="connection: close\r\nretry-after: 2",
)
_NO_PROGRESS = problem(
    HTTPStatus.REQUEST_TIMEOUT,
    "request-timeout",
    f"cannot wait any longer: nothing of the file came for {PROGRESS_S:g} s; go on where it broke off",
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    _kept = 0
    """Bytes received that are no body and belong to nothing complete yet: what the parser holds for us."""
    _stage = _HEAD
    _body = 0
    """Bytes of the present request's body."""
    _moved = -1
    """How many bytes had come, or waited to go, when somebody last looked."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        sweep: Sweep,
        lost: Callable[[asyncio.Protocol], None] = lambda _: None,
    ) -> None:
        """`sweep` tells the time, and looks at the connection once a second; `lost` hears of its end."""
        super().__init__(config, server_state, app_state, _loop)
        self._sweep = sweep
        self._lost = lost
        self._since_s = sweep.now_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client has come."""
        super().connection_made(OneWriteTransport(transport))  # type: ignore[arg-type]  # it answers to the same calls
        self._since_s = self._sweep.now_s  # a TLS handshake has a limit of its own

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        super().connection_lost(exc)
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        """Let the parser look, then see how much of it the parser had to keep."""
        self._kept += len(data)
        super().data_received(data)
        if self._kept > HEAD_LIMIT and not self.transport.is_closing():
            self._part(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request line begins."""
        self._stage = _HEAD
        self._since_s = self._sweep.now_s
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stage = _BODY
        self._since_s = self._sweep.now_s
        self._kept = self._body = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Part of a body, which has a limit of its own by its route."""
        self._kept = 0
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._stage = _WHOLE
        self._kept = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's own, but without a timer for the time until the next request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._since_s = self._sweep.now_s
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def look(self, now_s: float) -> None:
        """Close the connection if its client took too long. Never while the next move is ours: a claim that is parked
        and a stream of events may last.
        """
        cycle = self.cycle
        if self.flow.write_paused or self.transport.is_closing():
            # What waits for the client would keep a mere close waiting, for ever if it takes nothing.
            if self._stands(self.transport.get_write_buffer_size(), now_s) > READER_S:
                self.transport.abort()
        elif cycle is None or cycle.response_complete:
            if now_s - self._since_s > (IDLE_S if self._stage == _WHOLE else REQUEST_S):
                # On a new and on an idle connection nobody has asked anything; what is left of a body has its answer.
                asked = self._stage == _HEAD and (self._kept or self.scope is not None)
                self._part(_SLOW_HEAD if asked else b"")
        elif cycle.more_body and not self.pipeline:
            self._look_at_body(now_s)

    def _look_at_body(self, now_s: float) -> None:
        if self.flow.read_paused:  # we are the slow ones
            self._since_s = now_s
        elif self.cycle.scope["method"] in _FILES:
            if self._stands(self._body, now_s) > PROGRESS_S:
                self._part(_NO_PROGRESS)
        elif now_s - self._since_s > body_limit_s(self._body):
            self._part(_SLOW_BODY)

    def _stands(self, moved: int, now_s: float) -> float:
        """For how many seconds a count of bytes has not changed."""
        if moved != self._moved:
            self._moved = moved
            self._since_s = now_s
        return now_s - self._since_s

    def _part(self, word: bytes) -> None:
        """Close, with a last word where that is still possible; a handler that waits for the body learns that it ends."""
        answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if word and not answering:
            self.transport.write(word)
        self.transport.close()
