"""Requests as values. A `Call` says all that a transport needs, and how its answer is read."""

import secrets
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

T = TypeVar("T")

QUICK_TIMEOUT_S = 30.0
"""How long a master may be silent on a request that it can answer at once."""


class Repeat(Enum):
    """Whether a request whose outcome is unknown (a time-out, a broken connection) may be sent again."""

    SAFE = "safe"  # reads, and writes that a repetition does not change
    UNSENT = "unsent"  # only where the connection could not be made, so nothing can have happened


class FileSlice(Struct, frozen=True, kw_only=True):
    """Bytes of a file as a request's body: `length` bytes from `offset`. Each try opens it anew."""

    path: Path
    offset: int
    length: int


class Answer(Struct, frozen=True, kw_only=True):
    """A master's reply, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Call(Struct, Generic[T], frozen=True, kw_only=True):
    """One request. `read` turns a successful answer into the result; `silence_s` bounds the wait for the next byte, and `waits` says
    that the master may be silent for long because there is nothing to say yet.
    """

    method: str
    path: str
    read: Callable[[Answer], T]
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileSlice = b""
    repeat: Repeat = Repeat.SAFE
    silence_s: float = QUICK_TIMEOUT_S
    waits: bool = False

    @property
    def target(self) -> str:
        """Path and query."""
        if not self.query:
            return self.path
        return self.path + "?" + "&".join(f"{quote(key)}={quote(value, safe='')}" for key, value in self.query)


def json_into(shape: type[T]) -> Callable[[Answer], T]:
    """Reads an answer's JSON body into `shape`. The reader raises msgspec.DecodeError on anything else."""
    decoder = msgspec.json.Decoder(shape)

    def read(answer: Answer) -> T:
        return decoder.decode(answer.body)

    return read


_ENCODER = msgspec.json.Encoder()
JSON_HEADERS: Mapping[str, str] = {"content-type": "application/json"}


def get(path: str, shape: type[T], *, query: Mapping[str, str | None] | None = None) -> Call[T]:
    """Read something; entries of `query` that are None are left out."""
    pairs = tuple((key, value) for key, value in (query or {}).items() if value is not None)
    return Call(method="GET", path=path, read=json_into(shape), query=pairs)


def post(
    path: str,
    shape: type[T],
    request: msgspec.Struct | None = None,
    *,
    repeat: Repeat = Repeat.SAFE,
    headers: Mapping[str, str] | None = None,
    silence_s: float = QUICK_TIMEOUT_S,
    waits: bool = False,
) -> Call[T]:
    """Change something. `repeat` is SAFE only for requests that the master makes idempotent."""
    return Call(
        method="POST",
        path=path,
        read=json_into(shape),
        headers={**JSON_HEADERS, **(headers or {})},
        body=b"" if request is None else _ENCODER.encode(request),
        repeat=repeat,
        silence_s=silence_s,
        waits=waits,
    )


def segment(text: str) -> str:
    """A reference as one segment of a path."""
    # A lone dot or two would be taken out of the path by whoever normalises it.
    return quote(text, safe="") if text not in (".", "..") else text.replace(".", "%2E")


def new_key() -> str:
    """A key that makes a repeated submission the same job."""
    return secrets.token_hex(16)
