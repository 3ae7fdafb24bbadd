"""The file system under simulated machines: a real folder, whose fsync takes time and whose power may fail.

After a power cut a file keeps its bytes only if they were synced as they are (ext4 with delayed allocation leaves an empty
file, see the measurement in docs/reliability.md). Locks of files are kept here, because a lock of the kernel would make the
one real process wait for itself.
"""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from sim.loop import PROCESS

if TYPE_CHECKING:
    from sim.machines import Process
    from sim.world import World

_fsync, _close, _open, _flock = os.fsync, os.close, os.open, fcntl.flock


class Disk:
    """Replaces a few functions of `os` and `fcntl` for the time of a simulation."""

    def __init__(self, world: "World", chance: Random) -> None:
        self._world = world
        self._chance = chance
        self._synced: dict[int, tuple[int, int]] = {}
        self._locks: dict[int, tuple[Process | None, int]] = {}  # by inode: who holds it, through which descriptor
        self._descriptors: set[int] = set()
        self.slow = False

    def patches(self) -> list[tuple[object, str, object]]:
        """What to put in place of what."""
        return [
            (os, "fsync", self.fsync), (os, "close", self.close), (os, "open", self.open), (fcntl, "flock", self.flock),
        ]  # fmt: skip

    def pause(self) -> None:
        """What a step on the disk takes; here the world may change."""
        if self._world.threads.current is not None:
            self._world.threads.wait(self._chance.expovariate(1.0) * (1.0 if self.slow else 0.002))

    def open(self, path: str | Path, flags: int, mode: int = 0o777) -> int:
        descriptor = _open(path, flags, mode)
        self._descriptors.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        for inode, (_, held) in list(self._locks.items()):
            if held == descriptor:
                del self._locks[inode]
        self._descriptors.discard(descriptor)
        _close(descriptor)

    def fsync(self, descriptor: int) -> None:
        self.pause()
        facts = os.fstat(descriptor)
        self._synced[facts.st_ino] = (facts.st_size, facts.st_mtime_ns)

    def flock(self, descriptor: int, operation: int) -> None:
        inode = os.fstat(descriptor).st_ino
        if operation & fcntl.LOCK_UN:
            self._locks.pop(inode, None)
            return
        while inode in self._locks and self._locks[inode][1] != descriptor:
            if operation & fcntl.LOCK_NB or self._world.threads.current is None:
                raise BlockingIOError("somebody holds it")
            self._world.threads.wait(0.02)
        self._locks[inode] = (PROCESS.get(), descriptor)

    def let_go(self, process: "Process") -> None:
        """The kernel frees the locks of who has died."""
        for inode, (holder, _) in list(self._locks.items()):
            if holder is process:
                del self._locks[inode]

    def cut_power(self, root: Path, told: Callable[[Path], None]) -> None:
        """Below this folder, every file that was not synced as it is loses its bytes."""
        for folder, _, names in os.walk(root):
            for name in sorted(names):
                path = Path(folder, name)
                facts = path.stat()
                if self._synced.get(facts.st_ino) != (facts.st_size, facts.st_mtime_ns) and facts.st_size:
                    path.write_bytes(b"")
                    told(path)

    def release(self) -> None:
        """Close what the dead have left open."""
        for descriptor in self._descriptors:
            with suppress(OSError):
                _close(descriptor)
        self._descriptors.clear()
