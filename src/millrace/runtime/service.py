"""The one contract of everything long-lived.

`start` returns when the thing is really ready, `stop` when it has really stopped; both may be called twice, from
several tasks, and in any order. A start that fails has stopped what it had started. Things that need each other are
nested, and the nesting is the order: a `Services` starts from the first to the last and stops from the last to the first.

    async with Services(store, ticker, server):
        await signals.drain.wait()
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self


class StartInterrupted(Exception):  # noqa: N818  it tells what happened, and is no fault
    """Cannot finish a start because `stop` was called meanwhile."""


class Service(ABC):
    """Write `on_start` and `on_stop`; the rest of the contract is here.

    `on_stop` runs after every `on_start`, also after one that failed or was interrupted, so it must cope with a thing
    that is half there. The two never run at the same time. A stopped service can be started again.
    """

    def __init__(self) -> None:
        """A service begins stopped."""
        self._start_task: asyncio.Task[None] | None = None
        self._stop_task: asyncio.Task[None] | None = None

    @abstractmethod
    async def on_start(self) -> None:
        """Bring the thing up; return when it is ready to be used."""

    @abstractmethod
    async def on_stop(self) -> None:
        """Take down whatever is up; return when nothing of it is left."""

    @property
    def running(self) -> bool:
        """Whether it is ready: started, and not asked to stop."""
        task = self._start_task
        return task is not None and task.done() and self._stop_task is None

    async def start(self) -> None:
        """Return when ready. Raises what `on_start` raised, or StartInterrupted when stopped meanwhile."""
        while self._stop_task is not None:
            await _settled(self._stop_task)
        if self._start_task is None:
            self._start_task = asyncio.create_task(self.on_start(), name=f"start {self!r}")
        task = self._start_task
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and not _being_cancelled():
                raise StartInterrupted(f"cannot start {self!r}: it was stopped while it started") from None
            await self.stop()
            raise
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Return when stopped; a start under way is cancelled first. Goes on to its end when the caller is cancelled."""
        if self._start_task is None:
            return
        if self._stop_task is None:
            self._stop_task = asyncio.create_task(self._stop(self._start_task), name=f"stop {self!r}")
        await asyncio.shield(self._stop_task)

    async def _stop(self, start: asyncio.Task[None]) -> None:
        try:
            start.cancel()
            await _settled(start)
            await self.on_stop()
        finally:
            self._start_task = self._stop_task = None

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        await self.stop()


class Services(Service):
    """Several services as one: started in order, stopped in reverse; the first that cannot start stops the others."""

    def __init__(self, *services: Service) -> None:
        """Each may use those before it, while it runs and while it stops."""
        super().__init__()
        self._services = services
        self._started: list[Service] = []

    async def on_start(self) -> None:
        """Start one after the other."""
        for service in self._services:
            self._started.append(service)
            await service.start()

    async def on_stop(self) -> None:
        """Stop all, in reverse, whatever fails on the way; then raise the failures as one group."""
        errors: list[Exception] = []
        while self._started:
            try:
                await self._started.pop().stop()
            except Exception as error:  # noqa: BLE001  the others must be stopped all the same
                errors.append(error)
        if errors:
            raise ExceptionGroup("cannot stop everything", errors)


class Background(Service):
    """A coroutine that runs until it is stopped, such as a server or a reader of a stream.

    `run` gets a function to call when it is ready; `start` returns then. Should it end by itself, `on_end` is told the
    error (None: it just returned); before it was ready, `start` raises instead.
    """

    def __init__(
        self,
        run: Callable[[Callable[[], None]], Awaitable[None]],
        *,
        on_end: Callable[[BaseException | None], None],
        name: str = "background",
    ) -> None:
        """`run(ready)` is cancelled at stop, and awaited until it has really ended."""
        super().__init__()
        self._run = run
        self._on_end = on_end
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{self._name}>"

    async def on_start(self) -> None:
        """Start the coroutine and wait until it says that it is ready."""
        ready = asyncio.Event()
        task = self._task = asyncio.create_task(self._body(ready), name=self._name)
        waiter = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        if not ready.is_set():
            task.result()  # raises what the coroutine raised
            raise RuntimeError(f"cannot start {self!r}: it ended before it was ready")
        task.add_done_callback(self._ended)

    async def on_stop(self) -> None:
        """Cancel the coroutine and wait for its end."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await _settled(task)

    async def _body(self, ready: asyncio.Event) -> None:
        await self._run(ready.set)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._task is task:  # else it ended because it was stopped
            self._on_end(asyncio.CancelledError() if task.cancelled() else task.exception())


async def _settled(task: asyncio.Task[None]) -> None:
    """Wait for the end of `task` without taking over its error."""
    if not task.done():
        await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # marks it as seen


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
