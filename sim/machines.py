"""Hosts with clocks of their own, and processes on them."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from millrace.runtime.clock import Clock
from sim.loop import LEAST_S, PROCESS, SimLoop

if TYPE_CHECKING:
    from sim.world import World

T = TypeVar("T")
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class HostClock(Clock):
    """The clock of one host: it runs a little fast or slow, its wall clock jumps, and a suspended host does not count."""

    def __init__(self, loop: SimLoop, *, rate: float = 1.0, offset_s: float = 0.0) -> None:
        self._loop = loop
        self.rate = rate
        self._offset_s = offset_s
        self.wall_s = 0.0
        self.suspended_s = 0.0

    def true_s(self, seconds: float) -> float:
        """How long a length of this clock really is."""
        return seconds / self.rate

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._loop.time() * self.rate + self.wall_s)

    def monotonic(self) -> float:
        return (self._loop.time() - self.suspended_s) * self.rate + self._offset_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(self.true_s(seconds), LEAST_S) if seconds > 0 else 0.0)

    async def wait_event(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        if not event.is_set():
            try:
                async with asyncio.timeout(None if timeout_s is None else max(self.true_s(timeout_s), LEAST_S)):
                    await event.wait()
            except TimeoutError:
                pass
        return event.is_set()


class Host:
    """A machine: a name, a clock, free space, and the processes on it."""

    def __init__(self, name: str, clock: HostClock) -> None:
        self.name = name
        self.clock = clock
        self.free_bytes = 10**12
        self.processes: list[Process] = []
        self._suspended_at_s: float | None = None

    def suspend(self, now_s: float) -> None:
        """Everything stands still, and its monotonic clock with it."""
        self._suspended_at_s = now_s
        for process in list(self.processes):
            process.stop_still()

    def resume(self, now_s: float) -> None:
        """It does not know that time has passed."""
        if self._suspended_at_s is not None:
            self.clock.suspended_s += now_s - self._suspended_at_s
            self._suspended_at_s = None
        for process in list(self.processes):
            process.go_on()


class Process:
    """One process of a host."""

    def __init__(self, world: "World", name: str, host: Host) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.dead = False
        self.stills = 0
        self.held: list[asyncio.Handle] = []
        self.at_death: list[Callable[[], None]] = []
        self.began_at_s = self.woke_at_s = world.loop.time()  # when it began, and when it last went on
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)
        host.processes.append(self)

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def still(self) -> bool:
        """Whether it stands still."""
        return self.stills > 0

    def begin(self, work: Coroutine[Any, Any, T], name: str | None = None) -> "asyncio.Task[T]":
        """Run something as this process."""
        task = self.world.loop.create_task(work, name=name, context=self.context.copy())
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.fail("I0", f"{self.name} ended with {type(error).__name__}: {error}")

    def later(self, seconds: float, call: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        """Take a step of this process after so many true seconds."""
        return self.world.loop.call_later(seconds, call, *args, context=self.context)

    def stop_still(self) -> None:
        """SIGSTOP."""
        self.stills += 1

    def go_on(self) -> None:
        """SIGCONT."""
        self.stills = max(0, self.stills - 1)
        if not self.still and not self.dead:
            self.woke_at_s = self.world.loop.time()
            held, self.held = self.held, []
            self.world.loop.release(held)

    def kill(self) -> None:
        """SIGKILL."""
        if self.dead:
            return
        self.dead = True
        self.host.processes.remove(self)
        for call in list(self.at_death):
            call()
