"""The bytes of a source, chunk by chunk, wherever they come from."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path

from millrace.blobs.disk import explained
from millrace.blobs.values import CHUNK_BYTES


async def chunks_of(source: Path | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Chunks of at most CHUNK_BYTES from a file, or as they come from an iterator; empty ones are left out."""
    if not isinstance(source, Path):
        async for chunk in source:
            if chunk:
                yield chunk
        return
    with explained(f"read {source}"):
        file = await asyncio.to_thread(source.open, "rb", buffering=0)
    try:
        while True:
            with explained(f"read {source}"):
                chunk = await asyncio.to_thread(file.read, CHUNK_BYTES)
            if not chunk:
                return
            yield chunk
    finally:
        file.close()
