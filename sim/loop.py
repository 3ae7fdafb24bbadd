"""An event loop whose time jumps from event to event, and processes on it that can stand still or die between two steps.

Everything of a simulated process runs in a context that names the process. So the loop knows whose step it is about to
take: the steps of one that stands still are kept for later, as by SIGSTOP, and those of one that was killed are never
taken, as by SIGKILL: no `finally` of it runs.
"""

import asyncio
import contextvars
import functools
import heapq
import itertools
import sys
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.machines import Process

PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)
LEAST_S = 1e-6
"""The shortest wait: with less, rounding could make a timer ring before its time has come, for ever."""
WAITING = frozenset({"_publish", "place", "settle", "stop"})
"""Names of blocking functions that wait on the way, for an fsync or a thread: a process may die in the middle of them."""
_MOST_STEPS = 200_000
"""Steps at one moment, after which the simulation is held to hang."""


class SimTask(asyncio.Task):  # type: ignore[type-arg]
    """A task whose place in a set does not hang on its address."""

    def __init__(self, *args: Any, loop: "SimLoop", **options: Any) -> None:
        super().__init__(*args, loop=loop, **options)
        self.serial = next(loop.serials)

    def __hash__(self) -> int:
        return getattr(self, "serial", 0)


class SimFuture(asyncio.Future):  # type: ignore[type-arg]
    """A future whose place in a set does not hang on its address."""

    def __init__(self, *args: Any, loop: "SimLoop", **options: Any) -> None:
        super().__init__(*args, loop=loop, **options)
        self.serial = next(loop.serials)

    def __hash__(self) -> int:
        return getattr(self, "serial", 0)


class Standstill(Exception):  # noqa: N818  it tells what happened
    """Nothing is left that could ever happen, or nothing but steps at one moment."""


class SimLoop(asyncio.BaseEventLoop):
    """No selector and no real waiting. `blocking` runs what product code hands to an executor."""

    def __init__(self) -> None:
        super().__init__()
        self.serials = itertools.count(1)
        self._now_s = 0.0
        self._steps = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._clock_resolution = 1e-9
        self._kept: list[Any] = []  # what the dead have left, so that nothing of it is collected before the end
        self.blocking: Callable[[Callable[[], Any], bool], asyncio.Future[Any]] | None = None
        self.faults: list[str] = []
        self.set_exception_handler(self._fault)

    def time(self) -> float:
        return self._now_s

    def create_future(self) -> asyncio.Future[Any]:
        return SimFuture(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        task = SimTask(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False  # the dead leave theirs
        self._kept.append(task)
        return task

    def run_in_executor(self, _: Executor | None, func: Callable[..., Any], *args: Any) -> Any:
        assert self.blocking is not None
        # `asyncio.to_thread` hands over a partial of `Context.run`.
        inner = func.args[0] if isinstance(func, functools.partial) and func.args else func
        return self.blocking(lambda: func(*args), getattr(inner, "__name__", "") in WAITING)

    def _fault(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody is woken."""

    def _process_events(self, _: Any) -> None:
        """There are no sockets."""

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        # With a number, equal times keep their order, and nobody compares handles.
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, _: asyncio.TimerHandle) -> None:
        self._cancelled += 1
        if self._cancelled > 200 and self._cancelled > len(self._timers) / 2:
            self._timers = [one for one in self._timers if not one[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _run_once(self) -> None:
        timers = self._timers
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready:
            if not timers:
                raise Standstill("nothing is left that could happen")
            self._now_s = max(self._now_s, timers[0][0])
            self._steps = 0
        while timers and timers[0][0] <= self._now_s:
            timer = heapq.heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            if not timer.cancelled():
                ready.append(timer)
        self._steps += len(ready)
        if self._steps > _MOST_STEPS:
            raise Standstill(f"more than {_MOST_STEPS} steps at one moment; the next is {ready[0]!r}")
        for _ in range(len(ready)):
            self._step(ready.popleft())

    def _step(self, handle: asyncio.Handle) -> None:
        if handle._cancelled:  # type: ignore[attr-defined]
            return
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None:
            if process.dead:
                self._kept.append(handle)
                return
            if process.still:
                process.held.append(handle)
                return
        handle._run()  # type: ignore[attr-defined]

    def release(self, handles: list[asyncio.Handle]) -> None:
        """Take these steps soon, in their order."""
        self._ready.extend(handles)  # type: ignore[attr-defined]

    def dispose(self) -> None:
        """Throw away what is left, without a word of those that were never done."""
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.set_exception_handler(lambda *_: None)
                self._ready.clear()  # type: ignore[attr-defined]
                self._timers.clear()
                for one in self._kept:
                    if isinstance(one, asyncio.Task) and not one.done():
                        coroutine = one.get_coro()
                        with suppress(BaseException):  # whatever the dead would say
                            coroutine.close()  # type: ignore[union-attr]
                self._kept.clear()
                self._ready.clear()  # type: ignore[attr-defined]
                self.close()
        finally:
            sys.unraisablehook = hook
