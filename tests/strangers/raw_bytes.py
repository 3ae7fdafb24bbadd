"""What no honest client sends to an HTTP server, from dice: shapes of attacks, and bytes changed at random. Pure.

The shapes are those of RFC 9112 section 11 and of the request smuggling literature; each is drawn around a route that exists, so that
what gets past the parser meets a handler.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CRLF = b"\r\n"
HANDFUL = (b"0", b"1", b"-1", b"+5", b"5 ", b"0x5", b"5,5", b"5;", b"1e3", b"\xd9\xa3", b"99999999999999999999", b"")
CODINGS = (
    b"chunked", b"Chunked", b"xchunked", b"chunked, chunked", b"identity, chunked", b"chunked, identity", b"gzip, chunked",
    b"\x0bchunked", b"chunked\x00", b'"chunked"', b"chunked;q=1", b"identity", b"",
)  # fmt: skip
SIZES = (
    b"5",
    b"005",
    b"0x5",
    b"5 ",
    b" 5",
    b"-5",
    b"+5",
    b"5;a=b",
    b'5;a="\r\n"',
    b"FFFFFFFFFFFFFFFF",
    b"10000000000000000",
    b"5\n",
    b"G",
    b"",
)
METHODS = (
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PRI",
    b"get",
    b"M-SEARCH",
    b"A" * 40,
)
VERSIONS = (
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"HTTP/1.2",
    b"http/1.1",
    b"HTTP/1.1 ",
    b"HTTP/11",
    b"ICE/1.0",
    b"",
)
ODD_PATHS = (
    b"*", b"//", b"/%", b"/%zz", b"/%00", b"/%0d%0aset-cookie:%20a=b", b"/..%2f..%2fetc/passwd", b"/%2e%2e/", b"/..;/", b"/a\\b",
    b"/%ff", b"/%c0%ae", b"/\xff", b"/?" + b"a=1&" * 200, b"/v1/jobs?limit=1000000000", b"/v1/jobs?cursor=%00", b"/v1/jobs?label=",
    b"/v1/jobs?state=queued&state=nope", b"http://[", b"http://other/v1/jobs", b"https://a:b@c/", b"localhost:80", b"/v1/jobs#x",
    b"/v1/jobs/" + b"9" * 5000, b"/v1/jobs/1/outputs/" + b"a/" * 300, b"/v1/profiles/" + b"9" * 300 + b"p30-h264", b"/login?next=//evil",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A route that exists, with its parameters filled."""

    method: bytes
    path: bytes
    body: bytes = b"{}"


class Thrower:
    """Draws one attack after the other. `key` is a good API key, which half of them show."""

    def __init__(self, dice: random.Random, targets: Sequence[Target], key: bytes) -> None:
        self.dice = dice
        self._targets = targets
        self._key = key
        self._shapes: Sequence[Callable[[], bytes]] = (
            self.good, self.good, self.good, self.odd_query, self.odd_query, self.two_lengths, self.length_and_coding, self.odd_coding, self.odd_chunks, self.trailers, self.folded,
            self.bare_line_ends, self.odd_header, self.giant, self.lying_length, self.cut, self.pipelined, self.odd_line,
            self.odd_path, self.upgrade, self.expect, self.noise,
        )  # fmt: skip

    def draw(self) -> bytes:
        """The next attack: one of the shapes, often with some of its bytes changed."""
        data = self.dice.choice(self._shapes)()
        return self._changed(data) if self.dice.random() < 0.25 else data

    # Parts --------------------------------------------------------------------------------------------------------------

    def head(self, *headers: bytes, target: Target | None = None, line: bytes = b"") -> bytes:
        """A request line and headers, to the empty line."""
        target = target or self.dice.choice(self._targets)
        first = line or b"%s %s HTTP/1.1" % (target.method, target.path)
        shown = [b"x-api-key: " + self._key] if self.dice.random() < 0.5 else []
        return CRLF.join([first, b"host: a", b"content-type: application/json", *shown, *headers, b"", b""])

    def _body(self) -> bytes:
        return self.dice.choice(self._targets).body

    def chunked(self, body: bytes) -> bytes:
        return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"

    # Shapes -------------------------------------------------------------------------------------------------------------

    def good(self) -> bytes:
        target = self.dice.choice(self._targets)
        return self.head(b"content-length: %d" % len(target.body), target=target) + target.body

    def two_lengths(self) -> bytes:
        body = self._body()
        return self.head(b"content-length: %d" % len(body), b"content-length: " + self.dice.choice(HANDFUL)) + body

    def length_and_coding(self) -> bytes:
        body = self._body()
        both = [b"content-length: %d" % self.dice.choice((0, 3, len(body))), b"transfer-encoding: chunked"]
        self.dice.shuffle(both)
        return self.head(*both) + self.chunked(body) + self.good()

    def odd_coding(self) -> bytes:
        name = self.dice.choice(
            (
                b"transfer-encoding",
                b"transfer-encoding ",
                b" transfer-encoding",
                b"transfer_encoding",
                b"Transfer\x00Encoding",
            )
        )
        odd = name + self.dice.choice((b": ", b":", b" : ", b":\t")) + self.dice.choice(CODINGS)
        more = [odd, b"transfer-encoding: chunked"] if self.dice.random() < 0.3 else [odd]
        return self.head(*more) + self.chunked(self._body())

    def odd_chunks(self) -> bytes:
        pieces = [
            self.dice.choice(SIZES)
            + self.dice.choice((CRLF, b"\n", b"\r"))
            + b"hello"
            + self.dice.choice((CRLF, b"\n", b""))
            for _ in range(self.dice.randint(1, 4))
        ]
        return self.head(b"transfer-encoding: chunked") + b"".join(pieces) + b"0\r\n\r\n"

    def trailers(self) -> bytes:
        odd = self.dice.choice(
            (
                b"x-api-key: " + self._key,
                b"host: b",
                b"content-length: 5",
                b"transfer-encoding: gzip",
                b"expect: 100-continue",
                b"content-type: text/plain",
                b"connection: close",
            )
        )
        return self.head(b"transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n" + odd + b"\r\n\r\n"

    def folded(self) -> bytes:
        return self.head(
            self.dice.choice(
                (b"x-a: b\r\n c", b"transfer-encoding:\r\n chunked", b" x: y", b"content-length:\r\n\t5", b"x\r\n: y")
            )
        ) + self.chunked(self._body())

    def bare_line_ends(self) -> bytes:
        return self.good().replace(CRLF, self.dice.choice((b"\n", b"\r", b"\r\r\n", b"\n\r")))

    def odd_header(self) -> bytes:
        name = self.dice.choice(
            (
                b"x y",
                b"",
                b"x\x00",
                b"x:",
                b"\x7f",
                "é".encode(),
                b"connection",
                b"content-type",
                b"range",
                b"if-match",
                b"last-event-id",
                b"idempotency-key",
                b"upload-offset",
                b"cookie",
                b"authorization",
                b"x-request-id",
                b"sec-fetch-site",
            )
        )
        value = self.dice.choice(
            (
                b"\x00",
                b"\x1b[2J",
                b"a" * 5000,
                b"\xff\xfe",
                b"close, upgrade",
                b"bytes=0-,1-,-1",
                b"bytes=" + b"0-1," * 2000,
                b"-1",
                b"9" * 400,
                b'"' * 50,
                b"Bearer " + b"x" * 3000,
                b"",
                b"a\rb",
                b"a\nb",
            )
        )
        return self.head(name + b": " + value, b"content-length: 2") + b"{}"

    def giant(self) -> bytes:
        return self.dice.choice((
            lambda: self.head(*[b"x-%d: y" % number for number in range(self.dice.choice((100, 5000, 20_000)))]),
            lambda: self.head(b"x: " + b"a" * self.dice.choice((8000, 70_000, 300_000))),
            lambda: b"GET /" + b"a" * self.dice.choice((8000, 70_000)) + b" HTTP/1.1\r\nhost: a\r\n\r\n",
            lambda: self.head(b"content-length: 200000") + b'{"input":"' + b"a" * 199_988 + b'"}',
            lambda: self.head(b"content-length: 60000") + b"[" * 60_000,
        ))()  # fmt: skip

    def lying_length(self) -> bytes:
        body = self._body()
        length = self.dice.choice(
            (0, 1, len(body) + 1, len(body) + 1000, 1 << 30, 1 << 40, 10**18, 2**63, 2**64, 10**30)
        )
        return self.head(b"content-length: %d" % length) + body

    def cut(self) -> bytes:
        data = self.good()
        return data[: self.dice.randrange(len(data))]

    def pipelined(self) -> bytes:
        return b"".join(
            self.dice.choice((self.good, self.good, self.cut, self.trailers, self.length_and_coding))()
            for _ in range(self.dice.randint(2, 12))
        )

    def odd_line(self) -> bytes:
        target = self.dice.choice(self._targets)
        space = self.dice.choice((b" ", b"  ", b"\t", b"\x0b", b""))
        line = self.dice.choice(METHODS) + space + target.path + space + self.dice.choice(VERSIONS)
        return (
            self.dice.choice((b"", b"", CRLF, b"\n", b" ")) + self.head(b"content-length: 2", line=line or b" ") + b"{}"
        )

    def odd_path(self) -> bytes:
        line = (
            self.dice.choice((b"GET", b"POST", b"DELETE", b"CONNECT", b"OPTIONS"))
            + b" "
            + self.dice.choice(ODD_PATHS)
            + b" HTTP/1.1"
        )
        return self.head(b"content-length: 2", line=line) + b"{}"

    def odd_query(self) -> bytes:
        """Forms and queries that are odd inside, on a route that reads them."""
        odd = self.dice.choice(
            (
                b"&" * 300,
                b"a&" * 50,
                b"key=%ff%00&next=%0d%0a",
                b"=" * 50,
                b"key=" + b"%41" * 900,
                b"node=x&attempt=2147483648&offset=9007199254740993",
                b"attempt=%D9%A1&node=x&offset=0",
                b"since=0001-01-01T00:00:00%2B23:59",
                b"limit=1&limit=2",
                b"dry_run=true&wait=99999",
            )
        )
        target = self.dice.choice(self._targets)
        return (
            self.head(b"content-length: %d" % len(odd), line=b"%s %s?%s HTTP/1.1" % (target.method, target.path, odd))
            + odd
        )

    def upgrade(self) -> bytes:
        kind = self.dice.choice((b"h2c", b"websocket", b"TLS/1.2", b"x" * 100))
        return self.head(b"connection: upgrade", b"upgrade: " + kind) + self.dice.choice(
            (b"", self.good(), self.noise())
        )

    def expect(self) -> bytes:
        return self.head(
            b"expect: " + self.dice.choice((b"100-continue", b"100-Continue", b"200-ok", b"")), b"content-length: 5"
        ) + self.dice.choice((b"", b"{}   ", b"{}"))

    def noise(self) -> bytes:
        return self.dice.choice((
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x00" * 500,
            self.dice.randbytes(self.dice.randint(1, 400)),
            b"GET /\r\n",
            b"\r\n" * 200,
        ))  # fmt: skip

    def _changed(self, data: bytes) -> bytes:
        """Some bytes flipped, put in, taken out, or said twice."""
        found = bytearray(data)
        for _ in range(self.dice.randint(1, 4)):
            if not found:
                break
            at = self.dice.randrange(len(found))
            match self.dice.randrange(5):
                case 0:
                    found[at] = self.dice.randrange(256)
                case 1:
                    found[at:at] = self.dice.choice((b"\x00", b"\r", b"\n", b" ", b"\t", b":", b"\xff", b"%00", CRLF))
                case 2:
                    del found[at : at + self.dice.randint(1, 8)]
                case 3:
                    found[at:at] = found[at : at + self.dice.randint(1, 40)]
                case 4:
                    found[at] ^= 1 << self.dice.randrange(8)
        return bytes(found)
