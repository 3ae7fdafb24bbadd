"""Blobs in a bucket of anything that speaks S3."""

import hashlib
import mimetypes
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from millrace.blobs.source import chunks_of
from millrace.blobs.values import (
    CHUNK_BYTES,
    BlobIncomplete,
    BlobInfo,
    BlobMissing,
    Blobs,
    BlobsFull,
    BlobsRefused,
    BlobsUnavailable,
    Stored,
    check_key,
    check_prefix,
)

PART_BYTES = 16 * 1024 * 1024  # 10 000 parts (the limit of S3) of this size are 160 GB
_PARALLEL_PARTS = 4
_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".m4s": "video/iso.segment",
    ".vtt": "text/vtt",
}
_FULL = ("StorageFull", "QuotaExceeded", "InsufficientStorage", "507")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Config:
    """Where and as whom. `endpoint` None is Amazon itself; without keys the machine's own role is used."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    virtual_hosted: bool = False


class S3Blobs(Blobs):
    """An object appears when its upload is complete, never before; large ones go up in parts, a few at a time."""

    def __init__(self, config: S3Config) -> None:
        """Connects to nothing yet."""
        import obstore  # noqa: PLC0415  loaded only where there is a bucket
        from obstore.store import S3Store  # noqa: PLC0415

        self._api = obstore
        self._name = f"s3://{config.bucket}/{config.prefix}".rstrip("/")
        settings: dict[str, Any] = {
            "region": config.region,
            "endpoint": config.endpoint,
            "access_key_id": config.access_key_id,
            "secret_access_key": config.secret_access_key,
            "session_token": config.session_token,
            "virtual_hosted_style_request": config.virtual_hosted,
        }
        chosen: Any = {name: value for name, value in settings.items() if value is not None}
        client: Any = {
            "allow_http": (config.endpoint or "").startswith("http://"),
            "connect_timeout": "5s",
            "timeout": "300s",  # of one part, on a slow line
        }
        retry: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
        self._store: Any = S3Store(
            config.bucket, prefix=config.prefix or None, config=chosen, client_options=client, retry_config=retry
        )

    async def put(self, key: str, source: Path | AsyncIterable[bytes], *, size_bytes: int | None = None) -> Stored:
        """See Blobs."""
        check_key(key)
        passing = _Passing(source, size_bytes, f"store {key} in {self._name}")
        kind = _TYPES.get(Path(key).suffix) or mimetypes.guess_type(key)[0] or "application/octet-stream"
        try:
            with self._explained(f"store {key}"):
                await self._api.put_async(
                    self._store,
                    key,
                    passing.chunks(),
                    attributes={"Content-Type": kind},
                    chunk_size=PART_BYTES,
                    max_concurrency=_PARALLEL_PARTS,
                )
        except Exception:
            if passing.error is not None:  # the library wraps what the source raised
                raise passing.error from None
            raise
        return Stored(size_bytes=passing.size_bytes, sha256=passing.sha256)

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See Blobs."""
        check_key(key)
        if start <= 0 and end is None:
            async for chunk in self._stream(key, {}):
                yield chunk
            return
        # A range that begins behind the end is an error in HTTP (416), so the size comes first.
        info = await self.stat(key)
        start, end = max(start, 0), min(end if end is not None else info.size_bytes, info.size_bytes)
        if start >= end:
            return
        try:
            async for chunk in self._stream(key, {"range": (start, end)}):
                yield chunk
        except _NoRanges:
            self.serves_ranges = False
            async for chunk in _cut(self._stream(key, {}), start, end):
                yield chunk

    async def _stream(self, key: str, options: Any) -> AsyncIterator[bytes]:
        with self._explained(f"read {key}"):
            reply = await self._api.get_async(self._store, key, options=options)
            async for chunk in reply.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    async def stat(self, key: str) -> BlobInfo:
        """See Blobs."""
        check_key(key)
        with self._explained(f"look at {key}"):
            return _info(await self._api.head_async(self._store, key))

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """See Blobs."""
        folder = check_prefix(prefix)
        with self._explained(f"list {folder or 'all'}"):
            async for batch in self._api.list(self._store, prefix=folder or None):
                for meta in batch:
                    yield _info(meta)

    async def delete(self, key: str) -> None:
        """See Blobs."""
        check_key(key)
        try:
            with self._explained(f"delete {key}"):
                await self._api.delete_async(self._store, key)
        except BlobMissing:
            return

    async def exists(self, key: str) -> bool:
        """See Blobs."""
        try:
            await self.stat(key)
        except BlobMissing:
            return False
        return True

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        from obstore import exceptions  # noqa: PLC0415

        try:
            yield
        except FileNotFoundError:
            raise BlobMissing(f"cannot {doing} in {self._name}: no such blob") from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise BlobsRefused(f"cannot {doing} in {self._name}: the keys are wrong or not allowed to") from error
        except exceptions.BaseError as error:
            text = str(error)
            if any(word in text for word in _FULL):
                raise BlobsFull(f"cannot {doing} in {self._name}: the store has no space left") from error
            if "NotPartial" in text:
                raise _NoRanges(
                    f"cannot {doing} in {self._name}: the store answers ranges with another status"
                ) from error
            if "NoSuchBucket" in text:
                raise BlobsRefused(f"cannot {doing} in {self._name}: there is no such bucket") from error
            raise BlobsUnavailable(f"cannot {doing} in {self._name}: {_first_sentence(text)}") from error


class _NoRanges(BlobsUnavailable):
    """The store answered a range with 200 instead of 206, as some do (gofakes3, lakeFS); known before the first byte."""


async def _cut(chunks: AsyncIterator[bytes], start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes from `start` to `end` of a stream that begins at zero."""
    at = 0
    async for chunk in chunks:
        piece = chunk[max(start - at, 0) : end - at]
        at += len(chunk)
        if piece:
            yield piece
        if at >= end:
            return


class _Passing:
    """Counts and hashes bytes on their way up, and keeps an error that the source raised."""

    def __init__(self, source: Path | AsyncIterable[bytes], announced: int | None, doing: str) -> None:
        self._source = source
        self._announced = announced
        self._doing = doing
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.error: Exception | None = None

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks_of(self._source):
                self._hash.update(chunk)
                self.size_bytes += len(chunk)
                yield chunk
            self._check_size()  # before the upload is completed, so that nothing appears
        except Exception as error:
            self.error = error
            raise

    def _check_size(self) -> None:
        if self._announced not in (None, self.size_bytes):
            raise BlobIncomplete(
                f"cannot {self._doing}: {self._announced} bytes were announced and {self.size_bytes} came"
            )


def _info(meta: Any) -> BlobInfo:
    tag, size = meta.get("e_tag") or "", meta["size"]
    version = f"{meta.get('version') or ''} {tag} {size}".strip() if tag and not tag.startswith("W/") else ""
    return BlobInfo(key=meta["path"], size_bytes=size, modified=meta["last_modified"], version=version)


def _first_sentence(text: str) -> str:
    return " ".join(text.split())[:300]
