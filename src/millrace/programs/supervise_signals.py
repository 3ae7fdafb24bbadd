"""The signals of a supervisor: which end it, which make it read its plan again, and which are for its processes."""

import asyncio
import signal
from collections.abc import Callable, Iterable
from functools import partial
from typing import Self

from millrace.supervisor.plan import Plan

_END = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
_DEAF = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM})  # each would end us


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
        self._heeded: set[signal.Signals] = set()

    def heed(self, plan: Plan) -> None:
        """Do as this plan says from now on."""
        loop = asyncio.get_running_loop()
        passed_on = {number for process in plan.processes.values() for number in process.execution.forward}
        deeds: dict[signal.Signals, Callable[[], None]] = {
            number: partial(self._pass_on, number) for number in _DEAF | passed_on
        }
        if signal.SIGHUP not in passed_on and self._terminal:
            deeds[signal.SIGHUP] = self._end
        elif signal.SIGHUP not in passed_on and self._reload is not None:
            deeds[signal.SIGHUP] = self._reload
        deeds |= dict.fromkeys(_END, self._end)
        for number, deed in deeds.items():
            # Not by the loop's own way: it shares one pipe with all signals, which a flood of them fills, and it imports
            # half a megabyte to see that a deed is no coroutine.
            signal.signal(number, partial(_soon, loop, deed))
        self._let_go(self._heeded - deeds.keys())
        self._heeded = set(deeds)

    def __enter__(self) -> Self:
        """Nothing is heeded before the first plan."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of them all."""
        self._let_go(self._heeded)

    def _let_go(self, numbers: Iterable[signal.Signals]) -> None:
        for number in numbers:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _soon(loop: asyncio.AbstractEventLoop, deed: Callable[[], None], *_: object) -> None:
    loop.call_soon_threadsafe(deed)
