"""Which processes belong to a child, and how to signal them, read from /proc (proc(5)).

A process belongs to the tree when it descends from the child, or is in its session or control group, or was seen in the tree
before, or carries the child's mark (see `mark`), which finds those that forked twice and called setsid, also with another environment
or another user. What escapes: a process that does all of this *and* sets RLIMIT_LOCKS before anyone looked. Only a cgroup
or a PID namespace catches that one; a supervisor kills it at its own end (see `orphans`).
"""

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from millrace.process.mark import Carried, Mark, carried
from millrace.process.values import Usage
from millrace.runtime.clock import Clock

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class Process(Struct, frozen=True, kw_only=True):
    """One line of /proc/PID/stat. `start_ticks` together with the pid names a process for ever; a pid alone is reused.

    `waited_cpu_s` is the CPU time of its children that ended and that it waited for.
    """

    pid: int
    parent: int
    session: int
    state: str
    start_ticks: int
    cpu_s: float
    waited_cpu_s: float = 0.0
    threads: int = 1
    rss_bytes: int

    @property
    def key(self) -> tuple[int, int]:
        """What never names another process."""
        return self.pid, self.start_ticks

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie only waits to be collected."""
        return self.state not in "ZX"

    @property
    def stopped(self) -> bool:
        """Whether SIGSTOP (or a tracer) holds it."""
        return self.state in "Tt"


def read_process(pid: int) -> Process | None:
    """The process, or None when there is none of this pid."""
    raw = _stat(pid)
    if raw is None:
        return None
    # The name stands in parentheses and may hold any byte, so everything is counted from the last one.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Process(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        waited_cpu_s=(int(fields[13]) + int(fields[14])) / _TICKS_PER_S,
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )


class Look:
    """All processes as they were at one moment."""

    def __init__(self) -> None:
        """Look now."""
        self.table = {process.pid: process for process in processes()}
        self.children: dict[int, list[int]] = {}
        for process in self.table.values():
            self.children.setdefault(process.parent, []).append(process.pid)
        self._carried: dict[int, Carried] = {}

    def carried(self, pid: int) -> Carried:
        """What a process carries, read when it is asked for the first time."""
        found = self._carried.get(pid)
        if found is None:
            found = self._carried[pid] = carried(pid)
        return found


_looks: list[Look] = []  # the one of this turn of the event loop, if somebody has looked


def look() -> Look:
    """A look that is no older than this turn of the event loop.

    Whoever runs now was woken before the turn began, so a look of the same turn shows all that happened until then. When a
    hundred children end at once, their trees share a few looks instead of taking some hundreds.
    """
    if not _looks:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return Look()
        loop.call_soon(_looks.clear)
        _looks.append(Look())
    return _looks[0]


class Tree:
    """The processes of one child. The child must stay uncollected while this is used, so that its pid stays its own."""

    def __init__(self, pid: int, mark: Mark, held: Callable[[], set[int]] = set) -> None:
        """`pid` leads its own session. `held` gives the pids of the child's control group, from which nothing gets away."""
        self._held = held
        self._pid = pid
        self._mark = mark
        first = read_process(pid)
        self._born_ticks = 0 if first is None else first.start_ticks
        self._seen: set[tuple[int, int]] = set()
        self._cleared: set[tuple[int, int]] = set()
        self._cpu_s: dict[tuple[int, int], float] = {}

    def members(self, *, search: bool = True) -> list[Process]:
        """All that live. Without `search` the mark is not looked for: three times cheaper, misses fresh strays."""
        now = look()
        table = now.table
        own = {pid for pid, p in table.items() if self._pid in (pid, p.session) or p.key in self._seen}
        own |= self._held() & table.keys()
        if search:
            own |= {p.pid for p in table.values() if p.pid not in own and self._marked(p, now)}
        queue = list(own)
        while queue:
            fresh = [pid for pid in now.children.get(queue.pop(), ()) if pid not in own]
            own.update(fresh)
            queue.extend(fresh)
        found = [table[pid] for pid in own if table[pid].alive]
        self._seen.update(process.key for process in found)
        return found

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
        )

    def signal(self, number: signal.Signals) -> list[Process]:
        """Send to the group at once, and to each member outside it. Gives the members."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # Safe while the child is uncollected: nobody else can have a group of this number.
            os.killpg(self._pid, number)
        members = self.members()
        for process in members:
            if _group(process.pid) != self._pid:
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


async def first_end(waited_for: Iterable[Process], timeout_s: float, clock: Clock) -> None:
    """Return when one of them has ended, or after `timeout_s`."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
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


def has_ended(descriptor: int) -> bool:
    """Whether the process of a pidfd has ended, without waiting."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def processes() -> list[Process]:
    """All that can be seen."""
    pids = [int(name) for name in os.listdir(_PROC) if name.isdecimal()]  # noqa: PTH208  twice as fast as iterdir
    return [process for process in map(read_process, pids) if process is not None]


def _stat(pid: int) -> bytes | None:
    # Not by pathlib, which takes more than twice as long; a look at the machine reads this of every process.
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, 4096) or None
    except OSError:  # it has just gone
        return None
    finally:
        os.close(descriptor)


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
