"""A blob as something to be fetched."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from millrace.blobs.values import BlobError, Blobs, BlobsUnavailable
from millrace.worker.download import BrokenOffError, Opened, Source
from millrace.worker.failure import from_blob_error
from millrace.worker.fetch import NoRangesError


def blob_source(store: Blobs, key: str) -> Source:
    """One blob, between any offsets."""

    @asynccontextmanager
    async def source(offset: int, end: int | None) -> AsyncIterator[Opened]:
        if end is not None and not store.serves_ranges:
            raise NoRangesError
        try:
            total = (await store.stat(key)).size_bytes if end is None else None
            yield Opened(offset=offset, total=total, pieces=store.get(key, start=offset, end=end))
        except BlobsUnavailable as error:
            raise BrokenOffError(str(error)) from error
        except BlobError as error:
            raise from_blob_error(error) from error

    return source
