"""Looks at processes, as /proc tells of them (proc(5)).

Two ways to look. `Look` reads the whole table, which costs 25 µs for each process of the machine. `Below` serves a process to which
orphans come (see `orphans`): whatever descends from its children is, at any moment, below one of them or below a stranger that
came to it, so it reads the list of its own children, and of others only what is asked for.
"""

import asyncio
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from millrace.process.mark import Carried, carried
from millrace.process.own import adopts, unclaimed

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
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
    virtual_bytes: int = 0

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
        cpu_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
        waited_cpu_s=(int(fields[13]) + int(fields[14])) / TICKS_PER_S,
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
        virtual_bytes=int(fields[20]),
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )


class Look:
    """All processes as they were at one moment."""

    def __init__(self) -> None:
        """Look now."""
        self._table = {process.pid: process for process in processes()}
        self._children: dict[int, list[int]] = {}
        for process in self._table.values():
            self._children.setdefault(process.parent, []).append(process.pid)
        self._carried: dict[int, Carried] = {}

    def find(self, pid: int) -> Process | None:
        """The process, if there was one of this pid."""
        return self._table.get(pid)

    def children(self, pid: int) -> Iterable[int]:
        """Those of a process."""
        return self._children.get(pid, ())

    def astray(self) -> Iterable[Process]:
        """All that may belong to a tree though its root may not be above them."""
        return self._table.values()

    def carried(self, pid: int) -> Carried:
        """What a process carries, read when it is asked for the first time."""
        found = self._carried.get(pid)
        if found is None:
            found = self._carried[pid] = carried(pid)
        return found


class Below(Look):
    """The processes below this one, each read when it is asked for the first time. Only where `own.adopts`.

    That a tree has ended is certain: what a process leaves is ours before its end can be seen, so the list of our children is
    read again whenever an end was seen after it. The list itself is whole, because only this thread collects what is in it
    (without that, proc(5) warns of gaps).
    """

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._table: dict[int, Process] = {}
        self._carried: dict[int, Carried] = {}
        self._strangers: dict[int, Process | None] = {}
        self._whole = False  # whether the list of our children is younger than every end that was seen

    def find(self, pid: int) -> Process | None:
        """The process, if there is one of this pid."""
        found = self._table.get(pid)
        if found is None:
            found = read_process(pid)
            if found is not None:
                self._table[pid] = found
            if found is None or not found.alive:
                self._whole = False
        return found

    def children(self, pid: int) -> Iterable[int]:
        """Those of a process, by all of its threads."""
        known = self._table.get(pid)
        if known is not None and not known.alive and known.threads <= 1:  # what it left is ours
            return ()
        if known is not None and known.threads == 1:
            return children_of(pid, pid)
        try:
            threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208  as for `processes`
        except OSError:
            return ()
        return [child for thread in threads for child in children_of(pid, int(thread))]

    def astray(self) -> Iterable[Process]:
        """The strangers that came to us."""
        while not self._whole:
            self._whole = True
            for pid in strangers():
                if pid not in self._strangers:
                    self._strangers[pid] = self.find(pid)
        return [process for process in self._strangers.values() if process is not None]


_looks: list[Look] = []  # the one of this turn of the event loop, if somebody has looked


def look() -> Look:
    """A look that is no older than this turn of the event loop.

    Whoever runs now was woken before the turn began, so a look of the same turn shows all that happened until then. When a
    hundred children end at once, their trees share a few looks instead of taking some hundreds.
    """
    if not _looks:
        fresh = fresh_look()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return fresh
        loop.call_soon(_looks.clear)
        _looks.append(fresh)
    return _looks[0]


def end_was_seen() -> None:
    """A pidfd has told of an end: a look of this turn that is older than that may not show what was left by it."""
    _looks.clear()


def fresh_look() -> Look:
    """A look of this moment."""
    return Below() if adopts() else Look()


def strangers() -> list[int]:
    """Our children, also those that wait to be collected, that nobody here has started (see `own`)."""
    own = os.getpid()
    return unclaimed(children_of(own, own))


def children_of(pid: int, thread: int) -> list[int]:
    """The children of one thread, the first thread has the number of its process; what came to a process is the first's."""
    try:
        descriptor = os.open(f"/proc/{pid}/task/{thread}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    pieces: list[bytes] = []
    try:
        with suppress(OSError):  # it has just gone
            while piece := os.read(descriptor, 1 << 16):
                pieces.append(piece)
    finally:
        os.close(descriptor)
    return [int(word) for word in b"".join(pieces).split()]


def processes() -> list[Process]:
    """All that can be seen."""
    pids = [int(name) for name in os.listdir(_PROC) if name.isdecimal()]  # noqa: PTH208  twice as fast as iterdir
    return [process for process in map(read_process, pids) if process is not None]


def bytes_read(pid: int) -> int:
    """What a process has read by system calls, also from pipes and caches; 0 where it is gone or not ours to see."""
    try:
        text = (_PROC / str(pid) / "io").read_bytes()
    except OSError:
        return 0
    found = re.match(rb"rchar: (\d+)", text)
    return int(found[1]) if found else 0


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
