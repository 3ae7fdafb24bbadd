"""One request, as a handler sees it, and what a handler may answer besides a plain shape."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

from msgspec import Struct, field

from millrace.domain.keys import Machine
from millrace.edge.refusal import RefusalError, invalid, too_large
from millrace.wire.v1.problems import FieldError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

WHOLE = "millrace.http.response.whole"
"""The type of a message that ASGI does not know: a whole answer at once, for servers that have this name among the extensions
in the scope. It holds `status`, `shared` (a tuple of headers that many answers have in common), `headers` that are this
answer's own, and `body`; the length is said by the server.
"""

B = TypeVar("B")
D = TypeVar("D")
_MAX_QUERY_FIELDS = 100


class ClientGoneError(Exception):
    """The client hung up before its request was whole; nobody is left to answer."""


class Answer(Struct, frozen=True, kw_only=True):
    """A whole reply that is not the route's plain shape."""

    body: bytes = b""
    status: int = 200
    media: str = "application/json"
    cache: str = "no-store"
    headers: tuple[tuple[str, str], ...] = ()


class Stream(Struct, frozen=True, kw_only=True):
    """A reply in pieces. `length` is its size in bytes where that is known."""

    pieces: AsyncIterator[bytes]
    status: int = 200
    media: str = "application/octet-stream"
    length: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Call(Struct, Generic[B], kw_only=True):
    """A request whose key was checked and whose body (where the route has a JSON one) was decoded.

    `caller` is who the key stands for, `grants` what it opens; `mark` is what it was found by where it is one of the
    store's, `tenant` the only tenant that it sees (empty: all), and `machine` the only node that it may act as (None: any).
    `key_id` is the key's, where it is one of the store's.
    """

    scope: Scope
    receive: Receive
    headers: Mapping[bytes, bytes]
    path: Mapping[str, str]
    caller: str
    body: B
    limit: int
    grants: frozenset[str] = frozenset()
    mark: bytes | str = ""
    tenant: str = ""
    machine: Machine | None = None
    key_id: str = ""
    _query: dict[str, list[str]] | None = field(default=None)

    def header(self, name: str) -> str | None:
        """A header by its lower-case name."""
        value = self.headers.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    @property
    def query(self) -> Mapping[str, list[str]]:
        """The query's parameters; each may be repeated.

        Raises:
            RefusalError: it is no UTF-8, holds a NUL, or has too many fields.
        """
        if self._query is None:
            self._query = fields_of(self.scope.get("query_string", b""))
        return self._query

    def one(self, name: str) -> str | None:
        """A parameter that may be given once; None where it is missing or empty."""
        values = self.query.get(name, [])
        if len(values) > 1:
            raise invalid(FieldError(field=name, message="is given more than once"))
        return values[0] if values and values[0] else None

    def integer(self, name: str, *, least: int = 0, most: int = 2**53) -> int | None:
        """A whole number among the parameters, or None where it is missing."""
        text = self.one(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
            raise invalid(FieldError(field=name, message=f"must be a whole number from {least} to {most}"))
        return int(text)

    def truth(self, name: str) -> bool:
        """A parameter that is `true` or `false`; False where it is missing.

        Raises:
            RefusalError: it is something else.
        """
        value = self.one(name)
        if value not in (None, "true", "false"):
            raise invalid(FieldError(field=name, message="must be true or false"))
        return value == "true"

    def required_integer(self, name: str, *, least: int = 0, most: int = 2**53) -> int:
        """A whole number among the parameters, or a refusal that names it as missing."""
        value = self.integer(name, least=least, most=most)
        if value is None:
            raise invalid(FieldError(field=name, message="is missing"))
        return value

    def only(self, *names: str) -> None:
        """Refuse parameters other than these."""
        if self.scope.get("query_string"):
            for name in self.query:
                if name not in names:
                    raise invalid(
                        FieldError(field=name[:80], message="is no parameter of this request", allowed=list(names))
                    )

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives.

        Raises:
            RefusalError: it is over the limit.
            ClientGoneError: the client hung up.
        """
        async for piece in body_pieces(self.receive, self.headers, self.limit):
            yield piece

    def with_body(self, body: D) -> "Call[D]":
        """The same call with another body."""
        return Call(
            scope=self.scope,
            receive=self.receive,
            headers=self.headers,
            path=self.path,
            caller=self.caller,
            body=body,
            limit=self.limit,
            grants=self.grants,
            mark=self.mark,
            tenant=self.tenant,
            machine=self.machine,
            key_id=self.key_id,
        )

    async def gone(self) -> None:
        """Return when the client has hung up. Only after the body was read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


def fields_of(raw: bytes) -> dict[str, list[str]]:
    """The fields of a query or of a form (application/x-www-form-urlencoded); each may be repeated.

    Raises:
        RefusalError: it is no UTF-8, holds a NUL, or has too many fields.
    """
    found: dict[str, list[str]] = {}
    if not raw:
        return found
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS
        )
    except ValueError as error:
        raise RefusalError(
            400, "invalid", "cannot read the query or form: it is no percent-encoded UTF-8, or has too many fields"
        ) from error
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise invalid(FieldError(field=name.replace("\0", "")[:80], message="holds a NUL character"))
        found.setdefault(name, []).append(value)
    return found


def declared_length(headers: Mapping[bytes, bytes]) -> int | None:
    """What the client says its body is long; None where it does not say."""
    text = headers.get(b"content-length")
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise RefusalError(400, "invalid", "cannot read the request: its Content-Length is no length")
    return int(text)


async def body_pieces(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> AsyncIterator[bytes]:
    """A body as it arrives, refused as soon as it is known to be over `limit` bytes."""
    if (declared_length(headers) or 0) > limit:
        raise too_large(limit)
    total, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        piece: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        total += len(piece)
        if total > limit:
            raise too_large(limit)
        if piece:
            yield piece


async def whole_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """A whole body of at most `limit` bytes."""
    if (declared_length(headers) or 0) > limit:
        raise too_large(limit)
    # Most bodies come in one message; they take no detour through a generator.
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGoneError
    body: bytes = message.get("body", b"")
    if len(body) > limit:
        raise too_large(limit)
    if not message.get("more_body", False):
        return body
    pieces, total = [body], len(body)
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        piece: bytes = message.get("body", b"")
        total += len(piece)
        if total > limit:
            raise too_large(limit)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)
