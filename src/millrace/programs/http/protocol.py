"""HTTP/1.1 on one connection, over the parser of httptools (llhttp), with bounds on what a stranger may send before anybody
has looked at a key, and on how long it takes.

It is written by hand because every request of the farm comes through here (docs/decisions/0011-accept.md has what it saves).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from urllib.parse import unquote

import httptools

from millrace.edge.access import KNOWN
from millrace.edge.call import WHOLE
from millrace.programs.http.exchange import App, Exchange, Message
from millrace.programs.http.last_words import HEAD_LIMIT, NO_HTTP, NO_PROGRESS, SLOW_BODY, SLOW_HEAD, TOO_LARGE
from millrace.programs.http.sweep import (
    IDLE_S,
    KNOWN_READER_S,
    PROGRESS_S,
    READER_BYTES,
    READER_S,
    REQUEST_S,
    Sweep,
    body_limit_s,
)
from millrace.programs.http.taken import reset, taken, waiting

# What of a request has come: nothing or a part of its head, its head, all of it.
_HEAD, _BODY, _WHOLE = range(3)
_BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})
_VERSIONS = frozenset({"1.0", "1.1"})
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_EXTENSIONS: Message = {WHOLE: {}}
_FILES = frozenset({"PUT", "PATCH"})
"""How files come. Every route that takes one looks at a key before it reads."""


class Crowd:
    """The connections of one server, and the requests that it is answering."""

    def __init__(self, app: App, *, leave: Callable[[asyncio.Protocol], None] = lambda _: None) -> None:
        """`app` answers; `leave` hears of the end of each connection."""
        self.app = app
        self.leave = leave
        self.connections: set[HttpProtocol] = set()
        self.answering: dict[Exchange, asyncio.Task[None]] = {}
        self.sweep = Sweep(self.connections)
        self.unsent: list[HttpProtocol] = []
        """Those with something to send at the end of this turn of the event loop. While the answers of a turn are worked out
        nobody is disturbed: a client that is woken by each of them costs a core that sleeps in between more than all else
        that sending needs.
        """
        self._parting: asyncio.Event | None = None

    def send(self) -> None:
        """Send what was gathered in a turn."""
        unsent, self.unsent = self.unsent, []
        for connection in unsent:
            connection.flush()

    def has_left(self) -> None:
        """A connection was lost, or a request is done with."""
        if self._parting is not None and not self.connections and not self.answering:
            self._parting.set()

    async def part(self, grace_s: float) -> None:
        """Close what is idle at once, and what is being answered after its answer; what takes longer is cut off."""
        self._parting = asyncio.Event()
        for connection in tuple(self.connections):
            connection.part_soon()
        self.has_left()
        try:
            await asyncio.wait_for(self._parting.wait(), grace_s)
        except TimeoutError:
            for task in self.answering.values():
                task.cancel()
            for connection in tuple(self.connections):
                connection.transport.abort()
            await self._parting.wait()


class HttpProtocol(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self, crowd: Crowd) -> None:
        """The connection is one of the crowd from when it is made until it is lost."""
        self._crowd = crowd
        self._sweep = crowd.sweep
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        # A request that another one follows may say `connection: close` all the same; who sent both gets the first answer.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.client: tuple[str, int] | None = None
        self.writable: asyncio.Event | None = None
        self.app_state: dict[str, object] = {}  # what is known of the client, for `state` in each request's scope
        self._scheme = "http"
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._awaits_go_ahead = False
        self._hosts = 0
        self._coming: Exchange | None = None  # whose request the parser is at, or was at last
        self._answering: Exchange | None = None  # whose answer is the next on the wire
        self._unsent = b""
        self._later: deque[Exchange] = deque()  # who sent more requests before the first was answered
        self._is_held = False
        self._kept = 0  # bytes received that are no body and belong to nothing complete yet: what the parser holds
        self._stage = _HEAD
        self._body = 0  # bytes of the body that is coming
        self._since_s = 0.0  # when the wait for what comes next began
        self._moved = -1  # how many of those had come when somebody last looked
        self._sent = 0  # bytes that were sent, and how many of them when the client was last seen to have taken all
        self._cleared = 0
        self._taken = -1  # a count of what it took (-1: all), and when that had last grown by enough
        self._taken_s = 0.0

    # What the transport tells -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is no other kind
        """A client has come."""
        self.transport = transport
        self._scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        peer = transport.get_extra_info("peername")
        self.client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        self._since_s = self._sweep.now_s  # a TLS handshake has a limit of its own
        self._crowd.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  it is over, however it ended
        """It has gone."""
        self._crowd.connections.discard(self)
        self._crowd.leave(self)
        if self._answering is not None:
            self._answering.lose()
        self._later.clear()
        self._unsent = b""
        self.resume_writing()
        self._crowd.has_left()

    def pause_writing(self) -> None:
        """The client takes less than it gets."""
        self.writable = self.writable or asyncio.Event()

    def resume_writing(self) -> None:
        """It takes more."""
        if self.writable is not None:
            self.writable.set()
            self.writable = None

    def data_received(self, data: bytes) -> None:
        """Let the parser look, then see how much of it the parser had to keep."""
        self._kept += len(data)
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # We speak nothing else, and may say so by going on as before (RFC 9110, 7.8).
                data = data[upgrade.args[0] :]
            except httptools.HttpParserError:
                self._part(NO_HTTP)
                return
            else:
                break
        if self._kept > HEAD_LIMIT and not self.transport.is_closing():
            self._part(TOO_LARGE)

    # What the parser tells --------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request line begins."""
        self._stage = _HEAD
        self._since_s = self._sweep.now_s
        self._url = b""
        self._headers = []
        self._awaits_go_ahead = False
        self._hosts = 0

    def on_url(self, url: bytes) -> None:
        """Part of the address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; or a trailer behind a chunked body, which is nobody's: merged with the headers it could change whose the
        request is after a proxy has looked at them (RFC 9110, 6.5.1).
        """
        if self._stage is not _HEAD:
            return
        name = name.lower()
        self._headers.append((name, value))
        if name == b"host":
            self._hosts += 1
        elif name == b"expect" and value.lower() == b"100-continue":
            self._awaits_go_ahead = True
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            # The parser would hand on what is compressed as if it were the body itself.
            raise ValueError("cannot read a body that is coded otherwise than in chunks")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stage = _BODY
        self._since_s = self._sweep.now_s
        self._kept = self._body = 0
        if self._parser.should_upgrade() and any(name in _BODY_HEADERS for name, _ in self._headers):
            # The parser would take the body for the other protocol, and the application would see none.
            raise ValueError("cannot read a body after an Upgrade")
        version = self._parser.get_http_version()
        # Who stands between the client and us must read the request as we do (RFC 9112, 2.3 and 3.2).
        if version not in _VERSIONS or self._hosts > 1 or (version == "1.1" and self._hosts == 0):
            raise ValueError("cannot read a request of another version, or for no host or several")
        self._coming = Exchange(
            self,
            self._scope(version),
            keep_alive=version == "1.1" and self._parser.should_keep_alive(),
            awaits_go_ahead=self._awaits_go_ahead,
        )
        if self._answering is None:
            self._answer(self._coming)
        else:
            self.hold()
            self._later.append(self._coming)

    def _scope(self, version: str) -> Message:
        raw_path, _, query = self._url.partition(b"?")
        if not raw_path.startswith(b"/") or b"#" in self._url:
            url = httptools.parse_url(self._url)
            raw_path, query = url.path or b"/", url.query or b""  # an empty path is the root (RFC 9112, 3.2.2)
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "scheme": self._scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "client": self.client,
            "state": self.app_state,
            "extensions": _EXTENSIONS,
        }

    def on_body(self, body: bytes) -> None:
        """Part of a body, which has a limit of its own by its route."""
        self._kept = 0
        self._body += len(body)
        if self._coming is not None:
            self._coming.take(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._stage = _WHOLE
        self._kept = 0
        if self._coming is not None:
            self._coming.end()

    # What an exchange asks for ----------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Take no more bytes for now."""
        if not self._is_held:
            self._is_held = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Take them again."""
        if self._is_held:
            self._is_held = False
            self.transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send something, after what was gathered."""
        self.flush()
        self._sent += len(data)
        self.transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """Send something at the end of this turn of the event loop."""
        if not self._unsent:
            if not self._crowd.unsent:
                self._loop.call_soon(self._crowd.send)
            self._crowd.unsent.append(self)
        self._unsent += data

    def flush(self) -> None:
        """Send what was gathered."""
        data, self._unsent = self._unsent, b""
        if data and not self.transport.is_closing():
            self._sent += len(data)
            self.transport.write(data)

    def close(self) -> None:
        """Hang up after what was sent."""
        self.flush()
        self.transport.close()

    def answered(self, exchange: Exchange) -> None:
        """The whole answer was written: the next request is due, or the end."""
        self._answering = None
        if not exchange.keep_alive:
            self.close()
        if self.transport.is_closing():
            return
        self._since_s = self._sweep.now_s
        self.go_on()
        if self._later:
            self._answer(self._later.popleft())

    def ended(self, exchange: Exchange) -> None:
        """The application is done with it."""
        self._crowd.answering.pop(exchange, None)
        self._crowd.has_left()

    def _answer(self, exchange: Exchange) -> None:
        self._answering = exchange
        self._crowd.answering[exchange] = self._loop.create_task(exchange.run(self._crowd.app))

    # Its end ----------------------------------------------------------------------------------------------------------

    def part_soon(self) -> None:
        """Close now if nothing is being answered, or else after the answer."""
        if self._answering is None:
            self.close()
        else:
            self._answering.keep_alive = False

    def look(self, now_s: float) -> None:
        """Close the connection if its client took too long. Never while the next move is ours: a claim that is parked
        and a stream of events may last.
        """
        if self._takes_too_little(now_s):
            # What waits for the client would keep a mere close waiting, for ever if it takes nothing.
            reset(self.transport)
        elif self.writable is not None or self.transport.is_closing():
            pass  # the next move is the client's, and it makes it
        elif self._answering is None:
            if now_s - self._since_s > (IDLE_S if self._stage == _WHOLE else REQUEST_S):
                # On a new and on an idle connection nobody has asked anything; what is left of a body has its answer.
                asked = self._stage == _HEAD and (self._kept or self._coming is not None)
                self._part(SLOW_HEAD if asked else b"")
        elif self._answering is self._coming and not self._coming.whole:
            self._look_at_body(now_s, is_file=self._coming.scope["method"] in _FILES)

    def _takes_too_little(self, now_s: float) -> bool:
        """Whether something waits for the client, of which it took less than it must in its time."""
        left = waiting(self.transport) if self._sent != self._cleared else 0
        if not left:
            self._cleared = self._sent
            self._taken, self._taken_s = -1, now_s
            return False
        count = taken(self.transport, self._sent, left)
        if self._taken < 0:  # what it took at once does not buy it more time
            self._taken = count
        elif count - self._taken >= READER_BYTES:
            self._taken = count
            self._taken_s = now_s
        return now_s - self._taken_s > (KNOWN_READER_S if KNOWN in self.app_state else READER_S)

    def _look_at_body(self, now_s: float, *, is_file: bool) -> None:
        if self._is_held:  # we are the slow ones
            self._since_s = now_s
        elif is_file:
            if self._stands(self._body, now_s) > PROGRESS_S:
                self._part(NO_PROGRESS)
        elif now_s - self._since_s > body_limit_s(self._body):
            self._part(SLOW_BODY)

    def _stands(self, moved: int, now_s: float) -> float:
        """For how many seconds a count of bytes has not changed."""
        if moved != self._moved:
            self._moved = moved
            self._since_s = now_s
        return now_s - self._since_s

    def _part(self, word: bytes) -> None:
        """Close, with a last word where that is still possible; a handler that waits for the body learns that it ends."""
        if word and not (self._answering is not None and self._answering.started):
            self.write(word)
        self.close()
