"""Inputs from and outputs to `s3://bucket/...`."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from msgspec import Struct

from millrace.blobs.values import BlobError, BlobMissing, Blobs
from millrace.domain.failures import FailureClass
from millrace.runtime.clock import Clock
from millrace.wire.v1.work import OutputReport
from millrace.worker.control import Control
from millrace.worker.deliver import Delivery, Product, check_newest, foreign, made_by, manifest, owned, taken
from millrace.worker.download import download
from millrace.worker.failure import TaskFailedError, from_blob_error
from millrace.worker.fetch import Came, Fetching
from millrace.worker.fetch_blob import blob_source

MANIFEST = "millrace.json"
_MANIFEST_LIMIT = 64 << 20
"""A long film in short segments and many renditions has tens of thousands of outputs."""
_ENTRIES = (".vtt", "index.m3u8", "key-frames.m3u8", ".m3u8", ".mpd")
"""What players open first is stored last, after everything that it names."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")

OpenStore = Callable[[str], Blobs]
"""Opens `s3://bucket/prefix` with this worker's keys. Raises BlobError."""


class Place(Struct, frozen=True, kw_only=True):
    """A bucket and what follows it."""

    bucket: str
    path: str


def place_of(location: str) -> Place:
    """The parts of an `s3://` location.

    Raises:
        TaskFailedError: class `request`. Options such as another endpoint are not the job's to choose: this worker's
            keys must not be offered to a server of the job's own.
    """
    bucket, _, path = location.removeprefix("s3://").partition("/")
    path = path.strip("/")
    # In the address of a request the bucket stands where a host or a path begins: `..` would make the key one.
    if not _BUCKET.fullmatch(bucket) or ".." in bucket or "?" in location or "#" in location:
        raise TaskFailedError(
            FailureClass.REQUEST, f"cannot use {location.partition('?')[0]!r}: write s3://bucket/path"
        )
    return Place(bucket=bucket, path=path)


class ObjectFetch:
    """Fetches one object."""

    def __init__(self, open_store: OpenStore, *, clock: Clock, draw: Callable[[], float]) -> None:
        """`open_store` opens a bucket."""
        self._open = open_store
        self._clock = clock
        self._draw = draw

    async def __call__(self, fetching: Fetching) -> Came:
        """Fill the target, unless the known version still lies there; see `download` for what it raises."""
        place = place_of(fetching.location)
        if not place.path:
            raise TaskFailedError(FailureClass.REQUEST, f"cannot fetch {fetching.location!r}: it names no object")

        try:
            store = self._open(f"s3://{place.bucket}")
        except BlobError as error:
            raise from_blob_error(error) from error
        before = "" if fetching.ranges is not None else await _version(store, place.path)
        if before and before == fetching.known:
            return Came(version=before, is_known=True)
        await download(fetching, blob_source(store, place.path), clock=self._clock, draw=self._draw)
        # Another one may have been put there between the two requests, or the parts of the second.
        return Came(version=before if before and await _version(store, place.path) == before else "")


class ObjectDestination:
    """A prefix in a bucket. Objects appear one by one, each whole, the playlists last; the manifest comes first and says
    whose they are, so that a later attempt of the same job may go on where one was killed.
    """

    def __init__(self, open_store: OpenStore, location: str) -> None:
        """Judges the location. Raises TaskFailedError."""
        place = place_of(location)
        self._location = f"s3://{place.bucket}/{place.path}".rstrip("/")
        self._open = open_store

    async def check(self, job: str, *, overwrite: bool) -> None:
        """Refuse a prefix that holds anything but an earlier attempt of the same job, or with `overwrite` an output."""
        try:
            store = self._open(self._location)
            text = await _manifest(store)
            if made_by(text, job):
                return
            ours = owned(text) | {MANIFEST} if overwrite else frozenset()
            async for blob in store.list():
                if blob.key not in ours:
                    raise foreign(self._location, blob.key) if overwrite else taken(self._location)
        except BlobError as error:
            raise from_blob_error(error) from error

    async def settle(self, folder: Path) -> None:
        """Nothing goes over the network before it is known to be good."""

    async def publish(self, delivery: Delivery, control: Control) -> list[OutputReport]:
        """Store every file, then remove what an overwritten output had besides."""
        await self.check(delivery.job, overwrite=delivery.overwrite)
        try:
            store = self._open(self._location)
            names = {product.name for product in delivery.products} | {MANIFEST}
            there = await _manifest(store)
            check_newest(there, delivery)
            old = owned(there) - names
            await store.put(MANIFEST, _once(manifest(delivery, replaces=old)))
            reports = []
            for product in sorted(delivery.products, key=_order):
                await control.gate()
                stored = await store.put(product.name, delivery.folder / product.name, size_bytes=product.size)
                if stored.sha256 != product.sha256:
                    raise TaskFailedError(
                        FailureClass.DISK, f"cannot store {product.name}: it changed after it was checked"
                    )
                reports.append(product.reported(f"{self._location}/{product.name}"))
            for key in [blob.key async for blob in store.list()]:
                if key in old:
                    await store.delete(key)
        except BlobError as error:
            raise from_blob_error(error) from error
        return reports


async def _version(store: Blobs, key: str) -> str:
    """How the store names what lies there now; empty where it does not, or does not answer: whoever fetches it will hear why."""
    try:
        return (await store.stat(key)).version
    except BlobError:
        return ""


async def _manifest(store: Blobs) -> bytes:
    try:
        return b"".join([chunk async for chunk in store.get(MANIFEST, end=_MANIFEST_LIMIT)])
    except BlobMissing:
        return b""


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _order(product: Product) -> tuple[int, str]:
    for rank, ending in enumerate(_ENTRIES, start=1):
        if product.name.endswith(ending):
            return rank, product.name
    return 0, product.name
