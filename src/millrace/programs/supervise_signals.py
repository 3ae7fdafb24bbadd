"""The signals of a supervisor: which end it, which make it read its plan again, and which are for its processes."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Self

from millrace.process.signals import END, STRAY
from millrace.supervisor.plan import Plan


def _nothing() -> None:
    """Be deaf to it."""


class Signals:
    """What is done about each signal, as a plan says. Use as a context manager, and `heed` each plan that is kept."""

    def __init__(
        self,
        *,
        end: Callable[[], None],
        pass_on: Callable[[signal.Signals], None],
        reload: Callable[[], None] | None,
        terminal: bool,
    ) -> None:
        """SIGHUP is for processes where the plan forwards it. Else, on a terminal, it says that this one closes, and takes
        along what runs on it; elsewhere it reloads the plan, where there is a file to read it from.
        """
        self._end = end
        self._pass_on = pass_on
        self._reload = reload
        self._terminal = terminal
        self._heeded: set[int] = set()
        self._bell: _Bell | None = None
        self._told_to_end = False

    def heed(self, plan: Plan) -> None:
        """Do as this plan says from now on."""
        loop = asyncio.get_running_loop()
        if self._bell is None:
            self._bell = _Bell(loop)
        passed_on = {number for process in plan.processes.values() for number in process.execution.forward}
        deeds: dict[int, Callable[[], None]] = dict.fromkeys(STRAY, _nothing)
        deeds |= {number: partial(self._pass_on, number) for number in passed_on}
        if signal.SIGHUP not in passed_on and self._terminal:
            deeds[signal.SIGHUP] = self._hang_up
        elif signal.SIGHUP not in passed_on and self._reload is not None:
            deeds[signal.SIGHUP] = self._reload
        deeds |= dict.fromkeys(END, self._tell_to_end)
        for number, deed in deeds.items():
            # Not by the loop's own way: it shares one pipe with all signals, which a flood of them fills, and it imports
            # half a megabyte to see that a deed is no coroutine.
            signal.signal(number, partial(_soon, loop, deed))
        self._let_go(self._heeded - deeds.keys())
        self._heeded = set(deeds)

    def _tell_to_end(self) -> None:
        self._told_to_end = True
        self._end()

    def _hang_up(self) -> None:
        """The kernel and a shell both say it of one terminal, so the second one is no hurry."""
        if not self._told_to_end:
            self._tell_to_end()

    def __enter__(self) -> Self:
        """Nothing is heeded before the first plan."""
        return self

    def __exit__(self, *_: object) -> None:
        """Be deaf to all of them: everything has ended, and its exit code stands, whoever asks once more."""
        for number in self._heeded:
            signal.signal(number, signal.SIG_IGN)
        if self._bell is not None:
            self._bell.close()
            self._bell = None

    @staticmethod
    def _let_go(numbers: Iterable[int]) -> None:
        for number in numbers:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


class _Bell:
    """Ends each wait of the event loop when a signal comes.

    Python only notes a signal, and heeds it once it runs again. One that comes just before the loop begins to wait does not end
    that wait (seen: a SIGTERM under load, never heeded by a supervisor in which nothing else happened), nor does one that the
    kernel gives to another thread. So each rings here (signal.set_wakeup_fd), which ends a wait also afterwards. What rings tells
    nothing, so none is lost where many fill the pipe.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heard, self._rung = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        loop.add_reader(self._heard, self._silence)
        signal.set_wakeup_fd(self._rung, warn_on_full_buffer=False)

    def close(self) -> None:
        """Ring no more."""
        signal.set_wakeup_fd(-1)
        self._loop.remove_reader(self._heard)
        os.close(self._heard)
        os.close(self._rung)

    def _silence(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._heard, 4096)


def _soon(loop: asyncio.AbstractEventLoop, deed: Callable[[], None], *_: object) -> None:
    loop.call_soon_threadsafe(deed)
