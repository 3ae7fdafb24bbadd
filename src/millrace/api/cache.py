"""Finished pieces of divided films, which later jobs of the same tenant use again: each one blob under a key that its makers give it.

The master knows nothing of what is in one. Who takes it compares it.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from millrace.api.master import Master
from millrace.api.outputs import large
from millrace.api.places import CACHE, cached_key
from millrace.blobs.values import BlobInfo, BlobMissing, Blobs
from millrace.domain import ids
from millrace.edge.call import Call, Stream, declared_length
from millrace.edge.refusal import not_found
from millrace.scheduler.read import find_job
from millrace.scheduler.report import check_holder
from millrace.wire.v1.base import MOST_ATTEMPTS
from millrace.wire.v1.work import CachedView

_KEY = re.compile(r"[0-9a-f]{64}")
USED_EVERY = timedelta(hours=12)
"""A piece that is used is written anew when it is older than this: the time of a blob is when it was last used, to about so much."""


class CacheBounds(Struct, frozen=True, kw_only=True):
    """What pieces may take: bytes in all, and how long one stays that nobody uses; None for no limit."""

    most_bytes: int
    unused: timedelta | None


async def get(master: Master, call: Call[None]) -> Stream:
    """A piece."""
    place = await _place(master, call)
    try:
        info = await master.blobs.stat(place)
        if await master.farm.store.now() - info.modified > USED_EVERY:
            await master.blobs.put(place, master.blobs.get(place), size_bytes=info.size_bytes)
    except BlobMissing:
        raise not_found("no piece is kept under this key") from None
    return Stream(pieces=master.blobs.get(place), length=info.size_bytes, media="application/octet-stream")


async def put(master: Master, call: Call[None]) -> CachedView:
    """Keep a piece, in the place of what was there."""
    place = await _place(master, call)
    if not master.keeps_pieces:
        raise not_found("this master keeps no pieces")
    stored = await master.blobs.put(place, large(call.pieces()), size_bytes=declared_length(call.headers))
    return CachedView(size=stored.size_bytes, sha256=stored.sha256)


async def _place(master: Master, call: Call[None]) -> str:
    """Where the piece of the tenant lies whose task the caller holds."""
    call.only("node", "attempt")
    attempt = call.required_integer("attempt", least=1, most=MOST_ATTEMPTS)
    task, key = call.path["task"], call.path["key"]
    await check_holder(master.farm, task, node_id=call.one("node") or "", attempt=attempt)
    if not _KEY.fullmatch(key):
        raise not_found(f"{key[:64]!r} is no key of a piece")
    job = await find_job(master.farm.store, ids.job_of(task))
    return cached_key(job.tenant, key)


async def trim(blobs: Blobs, bounds: CacheBounds, *, now: datetime) -> int:
    """Delete what is beyond the bounds; how many pieces that were. Raises BlobError."""
    found = [info async for info in blobs.list(CACHE)]
    gone = beyond(found, bounds, now=now)
    for info in gone:
        await blobs.delete(info.key)
    return len(gone)


def beyond(found: Sequence[BlobInfo], bounds: CacheBounds, *, now: datetime) -> Sequence[BlobInfo]:
    """Those that must go: what was unused for too long, and then what was unused for longest until the rest fits."""
    newest_first = sorted(found, key=lambda info: (info.modified, info.key), reverse=True)
    gone, size = [], 0
    for info in newest_first:
        size += info.size_bytes
        if size > bounds.most_bytes or (bounds.unused is not None and now - info.modified > bounds.unused):
            gone.append(info)
    return gone
