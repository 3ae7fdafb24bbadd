"""The audit trail of a farm: what is noted at once goes into one block, and whoever noted it waits until that is on the disk."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from random import Random

from millrace.domain.chain import ID_BYTES, pack
from millrace.runtime.backoff import Backoff
from millrace.runtime.clock import Clock
from millrace.store.store import Store, StoreError
from millrace.telemetry.logs import logger

log = logger("audit")

MOST_WAITING = 20_000
PAUSES = Backoff(base_s=0.2, cap_s=5.0)
GATHER_S = 0.05
"""How long entries that nobody waits for are gathered."""
_LAST_TRY_S = 5.0


class Journal:
    """Writes entries down, in order. A store that refuses them holds up no answer, for what they tell of has happened: they
    are tried again until it takes them, and beyond MOST_WAITING they go to the log instead.
    """

    def __init__(self, store: Store, *, clock: Clock, chance: Random) -> None:
        """`chance` makes the ids of blocks."""
        self._store = store
        self._clock = clock
        self._chance = chance
        self._waiting: list[bytes] = []
        self._callers: list[asyncio.Future[None]] = []  # those who wait for it
        self._awaited = asyncio.Event()  # somebody waits for what is gathered
        self._refused = False
        self._worker: asyncio.Task[None] | None = None
        self.lost = 0

    def add(self, entry: bytes) -> None:
        """Take one entry, a JSON document without a line break, which is written in the next GATHER_S."""
        if len(self._waiting) >= MOST_WAITING:
            self._lose(entry)
            return
        self._waiting.append(entry)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="audit-journal")

    def note(self, entry: bytes) -> Awaitable[None]:
        """As `add`, at once: wait for what this gives before telling of the change."""
        self.add(entry)
        return self.written()

    def written(self) -> "asyncio.Future[None]":
        """Done when all that was taken is written, or the store refuses it for now."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._refused or not self._waiting:
            told.set_result(None)
        else:
            self._callers.append(told)
            self._awaited.set()
        return told

    async def stop(self) -> None:
        """Write what waits; what the store does not take now goes to the log."""
        self._awaited.set()
        if self._worker is not None and not self._worker.done():
            with suppress(TimeoutError):
                await self._clock.wait_for(self._worker, _LAST_TRY_S)
        for entry in self._waiting:
            self._lose(entry)
        self._waiting.clear()

    async def _work(self) -> None:
        while self._waiting:
            await self._clock.wait_event(self._awaited, GATHER_S)
            self._awaited.clear()
            # What is noted from here on belongs to the next block.
            batch, callers, self._callers = tuple(self._waiting), self._callers, []
            await self._write(pack(batch), callers)
            del self._waiting[: len(batch)]

    async def _write(self, body: bytes, callers: Sequence["asyncio.Future[None]"]) -> None:
        """Until it is written: the same block, so that one whose commit was not heard of does not stand there twice."""
        block_id = self._chance.randbytes(ID_BYTES)
        failures = 0
        while True:
            try:
                await self._store.add_audit(block_id, body)
            except StoreError as error:
                failures += 1
                if not self._refused:
                    log.error("audit.waits", why=str(error), waiting=len(self._waiting))  # noqa: TRY400  no fault of ours
                self._refused = True
                _tell((*callers, *self._callers))
                self._callers.clear()
                await self._clock.sleep(PAUSES.wait_s(failures, self._chance.random))
            else:
                self._refused = False
                _tell(callers)
                return

    def _lose(self, entry: bytes) -> None:
        self.lost += 1
        log.error("audit.unwritten", entry=entry.decode(errors="replace"), lost=self.lost)


def _tell(callers: Iterable["asyncio.Future[None]"]) -> None:
    for told in callers:
        if not told.done():  # whoever waited may have gone
            told.set_result(None)
