"""The store in which the masters keep blobs, where this worker reaches it itself: then files go there without a detour, and where it is a
folder on the worker's own file system without a copy.

Nobody has to prove that it is the same store: the master looks for every file that is said to lie there, and what it does not find goes
through it as ever.
"""

from collections.abc import Callable, Sequence

from millrace.blobs.values import BlobError, Blobs
from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.client.errors import ClientError, StaleError
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import StoredFile, StoredRequest
from millrace.worker.control import Control
from millrace.worker.deliver import Delivery
from millrace.worker.download import download
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import Fetching
from millrace.worker.fetch_blob import blob_source

log = logger("worker")

REST_S = 300.0
"""How long a store that could not be written is left alone: each try may take a minute."""


class SharedStore:
    """Stores files among the masters' blobs, and brings them from there."""

    def __init__(self, store: Blobs, client: AsyncClient, *, clock: Clock, draw: Callable[[], float]) -> None:
        """`store` is what should be the masters'."""
        self._store = store
        self._client = client
        self._clock = clock
        self._draw = draw
        self._rests_until_s = 0.0

    async def store(self, who: Delivery, control: Control) -> Sequence[str] | None:
        """What the files are to be reported as; None where they have to go through a master. Raises StaleError."""
        if self._clock.monotonic() < self._rests_until_s:
            return None
        try:
            prefix = (await self._client.do(work.place(who.task, node=who.node, attempt=who.attempt))).prefix
            for one in who.products:
                await control.gate()
                await self._store.adopt(prefix + one.name, who.folder / one.name)
            files = [StoredFile(name=one.name, sha256=one.sha256, size=one.size) for one in who.products]
            request = StoredRequest(node=who.node, attempt=who.attempt, files=files)
            return (await self._client.do(work.stored(who.task, request), patience_s=120.0)).locations
        except StaleError:
            raise
        except (BlobError, ClientError) as error:
            self._rests_until_s = self._clock.monotonic() + REST_S
            log.warning("worker.not_stored_directly", reason=str(error))
            return None

    async def bring(self, key: str, fetching: Fetching) -> bool:
        """Bring a blob to where it is wanted; whether that could be done."""
        try:
            if await self._store.lend(key, fetching.target):
                return True
            await download(fetching, blob_source(self._store, key), clock=self._clock, draw=self._draw)
        except (BlobError, TaskFailedError) as error:
            log.warning("worker.not_read_directly", reason=str(error))
            return False
        return True
