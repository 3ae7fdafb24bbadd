"""Whether the database is known not to answer. Who asks meanwhile is told so at once, instead of after a long wait."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from millrace.store.store import StoreUnavailableError
from millrace.telemetry.logs import logger

T = TypeVar("T")
log = logger("store")


class Silence:
    """Begins when the pulse of the database fails, and ends when it is felt again. The log hears of both, once."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        """It answers, as far as anybody knows. `hang_up` ends what is under way when a silence begins."""
        self._hang_up = hang_up
        self._error: StoreUnavailableError | None = None
        self._waiting: set[asyncio.Task[Any]] = set()

    @property
    def reigns(self) -> bool:
        """Whether it is known not to answer."""
        return self._error is not None

    def begin(self, error: StoreUnavailableError) -> None:
        """It does not answer, for this reason; may be said again, with another one."""
        if self._error is None or self._error.why != error.why:
            log.warning("store.silent", reason=str(error))
        first, self._error = self._error is None, error
        if first:
            self._hang_up()
            for one in self._waiting:
                one.cancel()

    def end(self) -> None:
        """It answers."""
        if self._error is not None:
            log.info("store.answers")
        self._error = None

    def check(self) -> None:
        """Go on, or raise why not."""
        if self._error is not None:
            raise StoreUnavailableError(str(self._error), why=self._error.why)

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, unless a silence begins before it is done.

        Raises:
            StoreUnavailableError: one has begun.
        """
        doing = asyncio.create_task(work)
        self._waiting.add(doing)
        try:
            return await doing
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is None or not me.cancelling():
                self.check()
            raise
        finally:
            self._waiting.discard(doing)
