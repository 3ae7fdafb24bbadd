"""What each of many children uses, with everything that it started, from one look at /proc (proc(5)).

A look at the tree of every child by itself would read the whole table once for each of them. Who belongs to whom is told as
in `tree`: by descent, by session, and by mark for what lost its parent and came to this process.
"""

import os
import time
from collections.abc import Iterable, Mapping

from msgspec import Struct

from millrace.process.look import Process, processes
from millrace.process.mark import Mark
from millrace.process.own import claimed

PSS_BUDGET_S = 0.02
"""CPU seconds of one look for proportional memory, which the kernel adds up page by page; the oldest figures are renewed
first, and who is not reached keeps what it had."""
_Key = tuple[int, int]


class TreeUsage(Struct, frozen=True, kw_only=True, gc=False):
    """What a tree uses. None where this user may not see it of every process.

    `cpu_s` and the bytes read from and written to storage are those of all that live, and of what ended below them and was
    waited for (getrusage(2), RUSAGE_CHILDREN). `pss_bytes` shares a page between those that map it; resident memory counts
    it in each.
    """

    processes: int = 0
    threads: int = 0
    cpu_s: float = 0.0
    rss_bytes: int = 0
    virtual_bytes: int = 0
    pss_bytes: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    descriptors: int | None = None

    @property
    def hidden(self) -> bool:
        """Whether this user may not see something of it."""
        return self.read_bytes is None or self.descriptors is None


class Census:
    """Looks at the trees of children again and again. Not for two threads at once."""

    def __init__(self) -> None:
        """Nothing was looked at yet."""
        self._pss: dict[_Key, tuple[int, int | None]] = {}  # at which look, and what was found
        self._strays: dict[_Key, int | None] = {}
        self._looks = 0

    def look(self, roots: Mapping[int, Mark]) -> dict[int, TreeUsage]:
        """What the tree of each root uses, by its pid; without those that have ended. The roots must be our own children."""
        table = {process.pid: process for process in processes()}
        trees = self._trees(table, roots)
        self._renew_pss(process for tree in trees.values() for process in tree if process.alive)
        return {root: self._usage(tree) for root, tree in trees.items()}

    def _trees(self, table: Mapping[int, Process], roots: Mapping[int, Mark]) -> dict[int, list[Process]]:
        own = os.getpid()
        # A pid that was collected meanwhile may be another's.
        trees: dict[int, list[Process]] = {
            pid: [] for pid in roots if (root := table.get(pid)) is not None and root.parent == own
        }
        strays = {
            process.key: self._strays[process.key] if process.key in self._strays else _marked(process.pid, roots)
            for process in table.values()
            if process.parent == own and not claimed(process.pid)
        }
        self._strays = strays
        owners: dict[int, int | None] = {pid: pid for pid in trees}
        for process in table.values():
            path, now = [], process
            while now.pid not in owners:
                path.append(now.pid)
                owners[now.pid] = now.session if now.session in trees else strays.get(now.key)
                parent = table.get(now.parent)
                if owners[now.pid] is not None or parent is None:
                    break
                now = parent
            owner = owners[now.pid]
            for pid in path:
                owners[pid] = owner
            if owner in trees:
                trees[owner].append(process)
        return trees

    def _renew_pss(self, members: Iterable[Process]) -> None:
        self._looks += 1
        known = {process.key: self._pss.get(process.key, (0, None)) for process in members}
        until_s = time.thread_time() + PSS_BUDGET_S
        for key in sorted(known, key=lambda each: known[each][0]):
            known[key] = (self._looks, _pss(key[0]))
            if time.thread_time() > until_s:
                break
        self._pss = known

    def _usage(self, tree: list[Process]) -> TreeUsage:
        alive = [process for process in tree if process.alive]
        traffic = [_traffic(process.pid) for process in alive]
        return TreeUsage(
            processes=len(alive),
            threads=sum(process.threads for process in alive),
            cpu_s=sum(process.cpu_s + process.waited_cpu_s for process in tree),
            rss_bytes=sum(process.rss_bytes for process in alive),
            virtual_bytes=sum(process.virtual_bytes for process in alive),
            pss_bytes=_sum(self._pss[process.key][1] for process in alive),
            read_bytes=_sum(None if one is None else one[0] for one in traffic),
            written_bytes=_sum(None if one is None else one[1] for one in traffic),
            descriptors=_sum(_descriptors(process.pid) for process in alive),
        )


def _marked(pid: int, roots: Mapping[int, Mark]) -> int | None:
    """The root whose mark an orphan carries. Asked once of each, as a mark is never got later."""
    return next((root for root, mark in roots.items() if mark.on(pid)), None)


def _sum(figures: Iterable[int | None]) -> int | None:
    total = 0
    for figure in figures:
        if figure is None:
            return None
        total += figure
    return total


def _pss(pid: int) -> int | None:
    text = _read(pid, "smaps_rollup")
    for line in (text or b"").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None if text is None else 0


def _traffic(pid: int) -> tuple[int, int] | None:
    text = _read(pid, "io")
    if text is None:
        return None
    found = dict(line.split(b": ") for line in text.splitlines())
    return int(found.get(b"read_bytes", 0)), int(found.get(b"write_bytes", 0))


def _descriptors(pid: int) -> int | None:
    place = f"/proc/{pid}/fd"
    try:
        # Since Linux 6.2 the size of that folder is their number.
        return os.stat(place).st_size or len(os.listdir(place))  # noqa: PTH116, PTH208  three times as fast as pathlib
    except PermissionError:
        return None
    except OSError:
        return 0


def _read(pid: int, name: str) -> bytes | None:
    """A small file of a process: empty where the process has just gone, None where this user may not see it."""
    try:
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return None
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    except PermissionError:
        return None
    except OSError:
        return b""
    finally:
        os.close(descriptor)
