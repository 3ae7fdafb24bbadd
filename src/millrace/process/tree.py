"""Which processes belong to a child, and how to signal them, read from /proc (proc(5)).

A process belongs to the tree when it descends from the child, or is in its session or control group, or was seen in the tree
before, or carries the child's mark (see `mark`), which finds those that forked twice and called setsid, also with another environment
or another user. What escapes: a process that does all of this *and* sets RLIMIT_LOCKS before anyone looked. Only a cgroup
or a PID namespace catches that one; a supervisor kills it at its own end (see `orphans`).
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable

from millrace.process.look import TICKS_PER_S, Look, Process, bytes_read, end_was_seen, look, read_process
from millrace.process.mark import Mark, carried
from millrace.process.values import Usage
from millrace.runtime.clock import Clock


class Tree:
    """The processes of one child. The child must stay uncollected while this is used, so that its pid stays its own."""

    def __init__(self, pid: int, mark: Mark, held: Callable[[], set[int]] = set) -> None:
        """`pid` leads its own session. `held` gives the pids of the child's control group, from which nothing gets away."""
        self._held = held
        self._pid = pid
        self._ended = False
        self._mark = mark
        # Processes count their start from the boot of the machine; a second more, as it was started before this is made.
        self._born_ticks = int((time.clock_gettime(time.CLOCK_BOOTTIME) - 1.0) * TICKS_PER_S)
        self._seen: set[tuple[int, int]] = set()
        self._cleared: set[tuple[int, int]] = set()
        self._cpu_s: dict[tuple[int, int], float] = {}

    def end_was_seen(self) -> None:
        """The child has ended with all of its threads, so nothing need be read of it, and nothing is below it any more."""
        self._ended = True
        end_was_seen()

    def members(self, *, search: bool = True) -> list[Process]:
        """All that live. Without `search` the mark is not looked for: three times cheaper, misses fresh strays."""
        now = look()
        own = {self._pid, *self._held()}
        # The child first: when its end is seen, what it left is among those that are astray.
        queue = [pid for pid in own if not (self._ended and pid == self._pid) and now.find(pid) is not None]
        for process in now.astray():
            known = process.session == self._pid or process.key in self._seen
            if process.pid not in own and (known or (search and self._marked(process, now))):
                own.add(process.pid)
                queue.append(process.pid)
        members: list[Process] = []
        while queue:
            pid = queue.pop()
            found = now.find(pid)
            if found is not None and found.alive:
                members.append(found)
            fresh = [child for child in now.children(pid) if child not in own]
            own.update(fresh)
            queue.extend(fresh)
        self._seen.update(process.key for process in members)
        return members

    def holds(self, pid: int) -> bool:
        """Whether one process is of the tree: it, or one that it descends from, is known by what `members` looks for."""
        process = read_process(pid)
        while process is not None and process.pid > 0:
            if self._pid in (process.pid, process.session) or process.key in self._seen or self._marked(process):
                return True
            process = read_process(process.parent)
        return False

    def usage(self) -> Usage:
        """CPU time of all that were ever seen in the tree, memory of those that live."""
        members = self.members(search=False)
        self._cpu_s.update((process.key, process.cpu_s) for process in members)
        return Usage(
            cpu_s=sum(self._cpu_s.values()),
            rss_bytes=sum(process.rss_bytes for process in members),
            processes=len(members),
            read_bytes=sum(bytes_read(process.pid) for process in members),
        )

    def signal(self, *numbers: signal.Signals) -> list[Process]:
        """Send each to the group at once, and to each member outside it. Gives the members."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # Safe while the child is uncollected: nobody else can have a group of this number.
            for number in numbers:
                os.killpg(self._pid, number)
        members = self.members()
        for process in members:
            if _group(process.pid) != self._pid:
                for number in numbers:
                    send(process, number)
        return members

    def _marked(self, process: Process, now: Look | None = None) -> bool:
        # A mark passes on at fork, so a process that once was seen without it never gets it later: only the child itself
        # does, and that is known by its pid. Asking each stranger once keeps repeated looks cheap.
        # What was there before the child has none of it: most of the machine is never asked at all.
        if process.start_ticks < self._born_ticks or process.key in self._cleared:
            return False
        marked = self._mark.among(carried(process.pid) if now is None else now.carried(process.pid))
        if marked is False:
            self._cleared.add(process.key)
        return bool(marked)


async def first_end(
    waited_for: Iterable[Process], timeout_s: float, clock: Clock, *, told: asyncio.Event | None = None
) -> None:
    """Return when one of them has ended, or `told` is set, which an end does too, or after `timeout_s`."""
    loop = asyncio.get_running_loop()
    ended = told or asyncio.Event()
    descriptors: list[int] = []
    try:
        for process in waited_for:
            descriptor = open_pidfd(process.pid)
            if descriptor is None:
                timeout_s = min(timeout_s, 0.02)  # no pidfd: look again soon
                continue
            descriptors.append(descriptor)
            loop.add_reader(descriptor, ended.set)
        await clock.wait_event(ended, timeout_s)
    finally:
        for descriptor in descriptors:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends (pidfd_open(2)); None where that is not to be had."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def send(process: Process, number: signal.Signals) -> None:
    """Signal exactly this process, never one that got its pid meanwhile."""
    descriptor = open_pidfd(process.pid)
    try:
        now = read_process(process.pid)
        if now is None or now.key != process.key:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if descriptor is None:
                os.kill(process.pid, number)
            else:
                signal.pidfd_send_signal(descriptor, number)
    finally:
        if descriptor is not None:
            os.close(descriptor)
