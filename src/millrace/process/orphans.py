"""What a process owes to children that it never started: collect them when they end, and leave none behind.

Orphans come to PID 1, or to the nearest ancestor that asked for them (PR_SET_CHILD_SUBREAPER, prctl(2)). Nothing here ever
takes the exit status of a child that somebody waits for: `Child` claims its own (see `own`), and any other zombie is left
alone for a moment, in which whoever started it collects it.
"""

import asyncio
import ctypes
import os
import signal
from contextlib import suppress

from millrace.process.own import claimed
from millrace.process.tree import Process, first_end, processes, send
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger

log = logger("process")

PR_SET_CHILD_SUBREAPER = 36
# No SIGCHLD: thousands of orphans a second would fill the pipe by which the event loop learns of signals, and a SIGTERM be
# lost (seen). One system call tells whether any child has ended.
IDLE_PERIOD_S = 0.5
LOOK_PERIOD_S = 0.1  # once a stranger was seen to have ended; it is collected at the second look
_ROUNDS = 100  # looks at what is left at the end, until the kernel is given up on


class Orphans:
    """Adopts, collects, and at the end kills. One in a process, on the event loop of its main thread."""

    def __init__(self, clock: Clock) -> None:
        """Nothing happens before `start`."""
        self._clock = clock
        self._ripe: set[tuple[int, int]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._first = frozenset[tuple[int, int]]()
        self.collected = 0

    def start(self) -> None:
        """Become the one that orphans come to. What is a child already is collected, but never killed."""
        if os.getpid() != 1 and not _adopt():
            log.warning("process.no_subreaper", means="orphans go to PID 1; their marks still find them")
        self._first = frozenset(process.key for process in self._strangers())
        self._look_on()

    async def stop(self) -> None:
        """Kill every stranger that came to us, and collect it. Our own children must have ended."""
        for _ in range(_ROUNDS):
            left = [process for process in self._descendants() if process.alive]
            if not left:
                break
            for process in left:
                send(process, signal.SIGKILL)
            await first_end(left, LOOK_PERIOD_S, self._clock)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.look()
        self.look()

    def look(self) -> bool:
        """Collect what had ended at the look before, too. Gives whether another look is due."""
        if not _anything_ended():
            self._ripe.clear()
            return False
        ended = {process.key for process in self._strangers() if not process.alive}
        for pid, _ in ended & self._ripe:
            with suppress(ChildProcessError):
                self.collected += os.waitpid(pid, os.WNOHANG)[0] == pid
        self._ripe = ended - self._ripe
        return bool(self._ripe)

    def _look_on(self) -> None:
        # A timer of the loop and no task of ours: it comes in time also when the loop is full.
        again_s = LOOK_PERIOD_S if self.look() else IDLE_PERIOD_S
        self._timer = asyncio.get_running_loop().call_later(again_s, self._look_on)

    def _strangers(self) -> list[Process]:
        own = os.getpid()
        return [process for process in processes() if process.parent == own and not claimed(process.pid)]

    def _descendants(self) -> list[Process]:
        """Strangers that came since the start, with all below them."""
        table = processes()
        own = os.getpid()
        found = [p for p in table if p.parent == own and not claimed(p.pid) and p.key not in self._first]
        for process in found:
            found += [p for p in table if p.parent == process.pid]
        return found


def _adopt() -> bool:
    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def _anything_ended() -> bool:
    """Whether any child waits to be collected; one system call, so that most looks cost nothing."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
