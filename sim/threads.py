"""Threads that take turns with the loop, so that code with threads is as deterministic as code without.

A thread runs only while the loop waits for it, until it waits itself: on a condition, on a request, on the disk. Each step
of it is a step of its process, so it stands still and dies with the process.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any, Self

from sim.loop import LEAST_S, PROCESS, SimLoop


class Killed(BaseException):
    """Ends a thread whose process is dead; nobody catches it."""


class _Carrier:
    """One real thread, used again and again."""

    def __init__(self, pool: "Threads") -> None:
        self._pool = pool
        self.go = threading.Lock()
        self.go.acquire()
        self.job: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            job, self.job = self.job, None
            if job is None:
                return
            job()
            _idle.append(self)
            self._pool.back.release()


_idle: list[_Carrier] = []
"""Carriers outlive a simulation."""


class Threads:
    """The threads of one simulation."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.back = threading.Lock()
        self.back.acquire()
        self.current: SimThread | None = None
        self._parked: dict[SimThread, None] = {}

    def blocking(self, work: Callable[[], Any], *, before_s: float) -> asyncio.Future[Any]:
        """Run something that may block in a thread of its own; the future is set in the caller's process."""
        future = self.loop.create_future()
        thread = SimThread(self, lambda: _settle(future, work))
        self.loop.call_later(before_s, thread.step, context=thread.context)
        return future

    def at_once(self, work: Callable[[], Any], *, before_s: float) -> asyncio.Future[Any]:
        """Run something that never waits on the way: as one step of the caller's process."""
        future = self.loop.create_future()
        self.loop.call_later(before_s, _settle, future, work)
        return future

    def wait(self, seconds: float) -> None:
        """Let time pass; only in a thread."""
        thread = self.current
        assert thread is not None
        self.loop.call_later(max(seconds, LEAST_S), thread.step, context=thread.context)
        thread.park()

    def end(self) -> None:
        """Unwind what is parked."""
        for thread in list(self._parked):
            thread.killed = True
            thread.step()


def _settle(future: asyncio.Future[Any], work: Callable[[], Any]) -> None:
    try:
        result = work()
    except Killed:
        raise
    except BaseException as error:  # noqa: BLE001  it belongs to whoever waits
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


class SimThread:
    """One thread of a simulated process."""

    def __init__(self, pool: Threads, target: Callable[[], object]) -> None:
        self._pool = pool
        self._target = target
        self._carrier: _Carrier | None = None
        self.context = contextvars.copy_context()
        self.killed = False
        self.done = False
        self._joining: list[SimThread] = []

    def step(self) -> None:
        """Let it run until it waits or ends. Called by the loop."""
        pool = self._pool
        if self.done:
            return
        if self._carrier is None:
            self._carrier = _idle.pop() if _idle else _Carrier(pool)
            self._carrier._pool = pool
            self._carrier.job = self._body
        pool._parked.pop(self, None)
        before, pool.current = pool.current, self
        self._carrier.go.release()
        pool.back.acquire()
        pool.current = before

    def _body(self) -> None:
        try:
            self.context.copy().run(self._target)
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  told at the end of the run
            self._pool.loop.faults.append(f"a thread ended with {error!r}")
        self.done = True
        for other in self._joining:
            self._pool.loop.call_soon(other.step, context=other.context)

    def park(self) -> None:
        """Wait until the next step. Called by the thread itself."""
        carrier = self._carrier
        assert carrier is not None
        if self.killed:
            raise Killed
        self._pool._parked[self] = None
        self._pool.back.release()
        carrier.go.acquire()
        if self.killed:
            raise Killed

    def join(self) -> None:
        """Wait, in another thread, for its end."""
        other = self._pool.current
        assert other is not None, "only a thread can wait for a thread"
        if not self.done:
            self._joining.append(other)
            other.park()


class Threading:
    """Stands in for the module `threading` where product code starts threads."""

    def __init__(self, pool: Callable[[], Threads]) -> None:
        self._pool = pool

    def Thread(self, *, target: Callable[[], object], name: str = "", daemon: bool = True) -> "_Startable":  # noqa: N802
        return _Startable(SimThread(self._pool(), target), self._pool())

    def Condition(self) -> "Condition":  # noqa: N802
        return Condition(self._pool())

    Lock = staticmethod(threading.Lock)


class _Startable:
    def __init__(self, thread: SimThread, pool: Threads) -> None:
        self._thread = thread
        self._pool = pool

    def start(self) -> None:
        self._pool.loop.call_soon(self._thread.step, context=self._thread.context)

    def join(self) -> None:
        self._thread.join()


class Condition:
    """A condition of threads that take turns: only a wait gives the lock up, so there is nothing to lock."""

    def __init__(self, pool: Threads) -> None:
        self._pool = pool
        self._waiting: dict[SimThread, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def wait(self, timeout: float | None = None) -> None:
        thread = self._pool.current
        assert thread is not None
        process = PROCESS.get()
        self._waiting[thread] = None
        timer = None
        if timeout is not None:
            true_s = timeout if process is None else process.host.clock.true_s(timeout)
            timer = self._pool.loop.call_later(max(true_s, LEAST_S), self._wake, thread, context=thread.context)
        thread.park()
        if timer is not None:
            timer.cancel()

    def notify_all(self) -> None:
        for thread in list(self._waiting):
            self._pool.loop.call_soon(self._wake, thread, context=thread.context)

    def _wake(self, thread: SimThread) -> None:
        if self._waiting.pop(thread, thread) is None:
            thread.step()
