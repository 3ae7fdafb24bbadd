"""Whether the database is known not to answer. Who asks meanwhile is told so at once, instead of after a long wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from millrace.store.store import StoreUnavailableError
from millrace.telemetry.logs import logger

log = logger("store")


class Silence:
    """Begins when the pulse of the database fails, and ends when it is felt again. The log hears of both, once."""

    def __init__(self) -> None:
        """It answers, as far as anybody knows."""
        self._error: StoreUnavailableError | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._running: set[asyncio.Timeout] = set()

    def begin(self, error: StoreUnavailableError) -> None:
        """It does not answer, for this reason; may be said again, with another one."""
        if self._error is None or self._error.why != error.why:
            log.warning("store.silent", reason=str(error))
        self._error = error
        for told in self._waiting:
            if not told.done():
                told.set_result(None)
        for timer in self._running:
            timer.reschedule(0.0)

    def end(self) -> bool:
        """It answers; whether there was a silence."""
        was, self._error = self._error is not None, None
        if was:
            log.info("store.answers")
        return was

    def check(self) -> None:
        """Go on, or raise why not."""
        if self._error is not None:
            raise StoreUnavailableError(str(self._error), why=self._error.why)

    @asynccontextmanager
    async def ends(self) -> AsyncIterator[None]:
        """Whatever runs in this block is broken off when a silence begins.

        Raises:
            StoreUnavailableError: one has begun before.
        """
        self.check()
        try:
            async with asyncio.timeout(None) as timer:
                self._running.add(timer)
                try:
                    yield
                finally:
                    self._running.discard(timer)
        except TimeoutError:
            self.check()
            raise

    async def wait(self, doing: "asyncio.Task[Any]", patience_s: float | None) -> bool:
        """Whether it is done, after that time at the most. It goes on in any case.

        Raises:
            StoreUnavailableError: a silence has begun before.
        """
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(told)
        try:
            await asyncio.wait((doing, told), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard(told)
        if not doing.done():
            self.check()
        return doing.done()
