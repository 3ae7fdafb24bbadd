"""One HTTP request, and whether its answer is well. It follows nothing, keeps nothing, and reads no more than it must."""

import asyncio
import functools
import ssl
from urllib.parse import urlsplit

import httptools
from msgspec import Struct, field

import millrace
from millrace.supervisor.health.values import HttpCheck, Tls

MAX_BODY_BYTES = 64 * 1024
MAX_HEAD_BYTES = 64 * 1024
_PIECE_BYTES = 16 * 1024
_USUAL = {"user-agent": f"millrace/{millrace.__version__}", "accept": "*/*", "accept-encoding": "identity"}


class NoAnswer(Exception):  # noqa: N818  its text is a phrase that follows "unhealthy:"
    """What came is no HTTP answer."""


class Answer(Struct):
    """An answer: `body` holds its first 64 KiB at most; header names are in small letters."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)


def judge(check: HttpCheck, answer: Answer) -> str | None:
    """None where the answer is well, else what is wrong with it, as a phrase."""
    if not any(low <= answer.status <= high for low, high in check.statuses):
        return f"answered {answer.status}, not {_ranges(check.statuses)}"
    for name, pattern in check.expected_headers.items():
        values = [value for other, value in answer.headers if other == name]
        if not values:
            return f"answered without the header {name}"
        if not any(pattern.search(value) for value in values):
            return f"answered with a header {name} that does not match {pattern.pattern}"
    if check.contains or check.pattern is not None:
        text = answer.body.decode("utf-8", "replace")
        if check.contains not in text:
            return f"answered with a body that does not hold {check.contains!r}"
        if check.pattern is not None and not check.pattern.search(text):
            return f"answered with a body that does not match {check.pattern.pattern}"
    return None


async def fetch(check: HttpCheck, *, wants_body: bool = False) -> Answer:
    """Ask once, over a connection of its own; cancelled, it drops the connection at once.

    The body is read where the check, or `wants_body`, asks for it.

    Raises:
        OSError: there is nobody, or the certificate is not good.
        NoAnswer: what came is no HTTP.
    """
    parts = urlsplit(check.url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    context = context_of(check.tls) if secure else None
    name = (check.tls.server_name or parts.hostname) if secure else None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, server_hostname=name)
    try:
        writer.write(_request(check))
        return await read_answer(reader, wants_body=wants_body or bool(check.contains or check.pattern))
    finally:
        # Not closed but thrown away: over TLS a close would wait for a peer that may be hung.
        writer.transport.abort()


def _request(check: HttpCheck) -> bytes:
    parts = urlsplit(check.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    own = {name.lower(): value for name, value in check.headers.items()}
    headers = {"host": parts.netloc.rpartition("@")[2], **_USUAL, **own, "connection": "close"}
    if check.method not in ("GET", "HEAD", "OPTIONS"):
        headers.setdefault("content-length", "0")
    lines = [f"{check.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


class _Reading:
    """What httptools calls while it reads an answer."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.headed = False
        self.ended = False

    def on_message_begin(self) -> None:
        """Early hints and the like come before the answer, and are none: nothing of them stays."""
        self.answer, self.headed, self.ended = Answer(), False, False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, body: bytes) -> None:
        self.answer.body += body[: MAX_BODY_BYTES - len(self.answer.body)]

    def on_message_complete(self) -> None:
        self.ended = self.headed


async def read_answer(reader: asyncio.StreamReader, *, wants_body: bool) -> Answer:
    """The answer, as far as it is wanted. Raises NoAnswer."""
    reading = _Reading()
    parser = httptools.HttpResponseParser(reading)
    size = 0
    while piece := await reader.read(_PIECE_BYTES):
        size += len(piece)
        try:
            parser.feed_data(piece)
        except httptools.HttpParserError as error:
            raise NoAnswer("answered with something that is no HTTP") from error
        if reading.headed:
            reading.answer.status = parser.get_status_code()
            is_final = reading.answer.status >= 200
            is_enough = not wants_body or reading.ended or len(reading.answer.body) >= MAX_BODY_BYTES
            if is_final and is_enough:
                return reading.answer
        elif size > MAX_HEAD_BYTES:
            raise NoAnswer("answered with a head that does not end")
    if not reading.headed:
        raise NoAnswer("closed the connection without an answer")
    return reading.answer


@functools.lru_cache(maxsize=64)
def context_of(tls: Tls) -> "ssl.SSLContext":
    """What judges certificates; kept, as reading the system's authorities takes tens of milliseconds.

    Raises:
        OSError: a file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context(cafile=None if tls.authorities is None else str(tls.authorities))
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _ranges(ranges: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
