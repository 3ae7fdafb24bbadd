"""What every blob store promises, whatever keeps the bytes."""

import unicodedata
from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct

CHUNK_BYTES = 1024 * 1024
MAX_KEY_BYTES = 900  # S3 allows 1024 with the prefix
MAX_PART_BYTES = 200  # file systems allow 255
PRIVATE = ".millrace"  # how names begin that only Millrace sees


class BlobError(Exception):
    """Something about blobs went wrong. The subclass says what to do about it."""


class BlobMissing(BlobError):  # noqa: N818  the message begins with "cannot"
    """There is no blob of this key."""


class BlobKeyInvalid(BlobError, ValueError):  # noqa: N818
    """The key can never name a blob, here or in any other store."""


class BlobIncomplete(BlobError):  # noqa: N818
    """The source gave another number of bytes than was announced; nothing was stored."""


class BlobsFull(BlobError):  # noqa: N818
    """No space is left; the same call can succeed when there is some again. Nothing was stored."""


class BlobsUnavailable(BlobError):  # noqa: N818
    """The store does not answer as it should; trying again later can help. Nothing is known about the last write."""


class BlobsRefused(BlobError):  # noqa: N818
    """The store forbids it, or its address is wrong; a person must change something."""


class Stored(Struct, frozen=True, kw_only=True):
    """What was written: its size and the SHA-256 of its bytes, in hexadecimal."""

    size_bytes: int
    sha256: str


class BlobInfo(Struct, frozen=True, kw_only=True):
    """One blob as the store lists it. `modified` is aware, by the clock of the store. `version` names its bytes, and no others
    that ever lay there; empty where the store has no such name.
    """

    key: str
    size_bytes: int
    modified: datetime
    version: str = ""


class Blobs(Protocol):
    """A store of big bytes under keys such as `jobs/42/input.mp4`. Every call may raise a BlobError.

    `serves_ranges` is False once a range has turned out to cost all that lies before it.
    """

    serves_ranges: bool = True

    async def put(self, key: str, source: Path | AsyncIterable[bytes], *, size_bytes: int | None = None) -> Stored:
        """Store all of `source` under `key`, replacing what was there; readers see the old bytes or the new, never a part.

        Durable when it returns. With `size_bytes` the source must have exactly that many (BlobIncomplete). An error that
        the source raises passes through, and nothing is stored.
        """
        ...

    async def adopt(self, key: str, source: Path) -> None:
        """Store a finished file that nobody will change any more, without a copy where that can be. The source stays.

        Raises as `put`.
        """
        await self.put(key, source)

    async def lend(self, key: str, target: Path) -> bool:
        """Give a blob the name `target`, too, for a reader that changes nothing; False where that takes a copy. Raises BlobMissing."""
        del key, target
        return False

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end` (None: to the last), cut at the size of the blob.

        Raises BlobMissing at the first step. A blob that is replaced meanwhile is never mixed with its successor.
        """
        ...

    async def stat(self, key: str) -> BlobInfo:
        """Size and time. Raises BlobMissing."""
        ...

    def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """Every blob below the folder `prefix` ("a/b" finds "a/b/c", not "a/bc"), in no particular order."""
        ...

    async def delete(self, key: str) -> None:
        """Remove it; no error when it is not there."""
        ...

    async def exists(self, key: str) -> bool:
        """Whether there is such a blob."""
        ...


def check_key(key: str) -> str:
    """The key itself, or BlobKeyInvalid: the same rules in every store, so that blobs can move between them."""

    def refuse(why: str) -> BlobKeyInvalid:
        return BlobKeyInvalid(f"cannot use {key[:200]!r} as a key: {why}")

    if any(unicodedata.category(character) in ("Cc", "Cs") for character in key):
        raise refuse("it holds a control character")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise refuse(f"it is longer than {MAX_KEY_BYTES} bytes")
    if "\\" in key:
        raise refuse("it holds a backslash; folders are separated by /")
    if unicodedata.normalize("NFC", key) != key:
        raise refuse("it is not in Unicode normal form C, so other systems would write it differently")
    for part in key.split("/"):
        if part in ("", ".", ".."):
            raise refuse("it must be a relative path without empty parts, '.' and '..'")
        if len(part.encode()) > MAX_PART_BYTES:
            raise refuse(f"one of its parts is longer than {MAX_PART_BYTES} bytes")
        if part.startswith(PRIVATE):
            raise refuse(f"names that begin with {PRIVATE} are kept for Millrace")
    return key


def check_prefix(prefix: str) -> str:
    """A folder for `list`, without the slash at its end; "" is the whole store."""
    folder = prefix.removesuffix("/")
    return check_key(folder) if folder else ""
