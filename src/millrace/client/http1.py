"""HTTP/1.1 as a client speaks it, without I/O: from a call to bytes, from bytes to an answer. httptools (llhttp) parses."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import httptools
from msgspec import Struct

from millrace.client.calls import Call, FileSlice

READ_BYTES = 256 << 10
"""How much is read at a time; also the pieces in which files are sent."""
LARGEST_HEAD_BYTES = 64 << 10


class BadAnswer(Exception):  # noqa: N818  its text is a phrase that follows "cannot reach the master at ...:"
    """What came is no HTTP answer, or not all of one."""


class Origin(Struct, frozen=True, kw_only=True):
    """Where a master is: `prefix` is the part of its address that comes before `/v1`."""

    secure: bool
    host: str
    port: int
    authority: str
    prefix: str

    @classmethod
    def of(cls, base: str) -> "Origin":
        """The parts of an address that `failover` has checked."""
        parts = urlsplit(base)
        secure = parts.scheme == "https"
        return cls(
            secure=secure,
            host=parts.hostname or "",
            port=parts.port or (443 if secure else 80),
            authority=parts.netloc,
            prefix=parts.path,
        )


def head(call: Call[object], origin: Origin, headers: Mapping[str, str]) -> bytes:
    """The head of the request. The length of a body is declared, so that none is ever sent in chunks."""
    whole = {"host": origin.authority, **headers, **call.headers}
    if call.method != "GET":
        whole["content-length"] = str(call.body.length if isinstance(call.body, FileSlice) else len(call.body))
    lines = [
        f"{call.method} {origin.prefix}{call.target} HTTP/1.1",
        *(f"{name}: {whole[name]}" for name in whole),
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


class Reading:
    """One answer while it comes in. Names of headers are in small letters.

    `ended`: all of it is here. `reusable`: the connection may carry another request then.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.headed = self.ended = self.reusable = False
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._head_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The parts of the body in it. Raises BadAnswer."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if not self.ended:
                raise BadAnswer("it answered with something that is no HTTP") from error
        if not self.headed:
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD_BYTES:
                raise BadAnswer("it answered with a head that does not end")
        pieces, self._pieces = self._pieces, []
        return pieces

    def close(self) -> None:
        """Nothing more comes. Raises BadAnswer where something is missing; a body of no known length ends so (RFC 9112, 6.3)."""
        bounded = "content-length" in self.headers or "transfer-encoding" in self.headers
        if not self.headed:
            raise BadAnswer("it closed the connection without an answer")
        if not self.ended and bounded:
            raise BadAnswer("it closed the connection in the middle of its answer")
        self.ended, self.reusable = True, False

    # What httptools calls ---------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Of early hints and the like, which come before the answer, nothing stays; nobody asked for what comes after it."""
        if not self.ended:
            self.headers = {}
        self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One more header; those of one name are one list (RFC 9110, 5.3)."""
        if not self.ended:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """The status stands."""
        status = self._parser.get_status_code()
        if not self.ended and status >= 200:
            self.status, self.headed = status, True
            self.reusable = bool(self._parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        """More of the body."""
        if not self.ended:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was only a hint."""
        self.ended = self.headed


class Lines:
    """Lines of text from pieces of a body, without their ends."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[str]:
        """The lines that this piece ends."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        return (line.removesuffix(b"\r").decode(errors="replace") for line in whole)
