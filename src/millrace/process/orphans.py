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
from pathlib import Path
from types import FrameType

from millrace.process.look import Process, fresh_look
from millrace.process.own import adopt, claimed
from millrace.process.tree import first_end, send
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger

log = logger("process")

PR_SET_CHILD_SUBREAPER = 36
LOOK_PERIOD_S = 0.1  # from when a child of ours has ended to a look at it; a stranger is collected at the second look
_ROUNDS = 100  # looks at what is left at the end, until the kernel is given up on


class Orphans:
    """Adopts, collects, and at the end kills. One in a process, on the event loop of its main thread."""

    def __init__(self, clock: Clock) -> None:
        """Nothing happens before `start`."""
        self._clock = clock
        self._ripe: set[tuple[int, int]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._first = frozenset[tuple[int, int]]()
        self.collected = 0

    def start(self) -> None:
        """Become the one that orphans come to. What is a child already is collected, but never killed."""
        adopting = os.getpid() == 1 or _adopt()
        if not adopting:
            log.warning("process.no_subreaper", means="orphans go to PID 1; their marks still find them")
        # Without that file (CONFIG_PROC_CHILDREN, and some sandboxes) the whole table has to be read all the same.
        adopt(yes=adopting and Path(f"/proc/self/task/{os.getpid()}/children").exists())
        self._loop = asyncio.get_running_loop()
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
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if self._timer is not None:
            self._timer.cancel()
        self._stopped = True
        self.look()
        self.look()
        adopt(yes=False)

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

    def _told(self, number: int, frame: FrameType | None) -> None:
        """A child has ended. Be deaf until it was looked at.

        Thousands of orphans a second would fill the pipe by which the event loop learns of signals, and a SIGTERM be lost
        (seen); so only the first of many is heard, and the look comes from a timer.
        """
        del number, frame
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._loop.call_soon_threadsafe(self._look_soon)

    def _look_soon(self) -> None:
        if self._timer is None and not self._stopped:
            self._timer = self._loop.call_later(LOOK_PERIOD_S, self._look_on)

    def _look_on(self) -> None:
        self._timer = None
        # Listen first: what ends after the look is heard.
        signal.signal(signal.SIGCHLD, self._told)
        if self.look():
            self._look_soon()

    def _strangers(self) -> list[Process]:
        own = os.getpid()
        return [process for process in fresh_look().astray() if process.parent == own and not claimed(process.pid)]

    def _descendants(self) -> list[Process]:
        """Strangers that came since the start, with all below them."""
        now, own = fresh_look(), os.getpid()
        found = [p for p in now.astray() if p.parent == own and not claimed(p.pid) and p.key not in self._first]
        for process in found:
            found += [child for child in map(now.find, now.children(process.pid)) if child is not None]
        return found


def _adopt() -> bool:
    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def _anything_ended() -> bool:
    """Whether any child waits to be collected; one system call, so that most looks cost nothing."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
