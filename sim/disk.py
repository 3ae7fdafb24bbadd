"""The file system under simulated machines: a real folder, whose fsync takes time and whose power may fail.

After a power cut a file keeps its bytes only if they were synced as they are (ext4 with delayed allocation leaves an empty
file), and a rename is as if it had never been unless its folder was synced after it (fsync(2)). Locks of files are kept here,
because a lock of the kernel would make the one real process wait for itself.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from msgspec import Struct

import millrace.blobs.publish
from millrace.blobs.disk import RENAME_EXCHANGE, rename_with
from sim.loop import PROCESS

if TYPE_CHECKING:
    from sim.machines import Process
    from sim.world import World

_fsync, _close, _open, _flock = os.fsync, os.close, os.open, fcntl.flock
_rename, _replace = os.rename, os.replace


class _Moved(Struct, frozen=True):
    """A rename that a power cut would undo. `folder` is the inode of the target's folder, `before` what the target was then."""

    folder: int
    source: Path
    target: Path
    exchanged: bool
    before: bytes | None


class Disk:
    """Replaces a few functions of `os` and `fcntl` for the time of a simulation."""

    def __init__(self, world: "World", chance: Random) -> None:
        self._world = world
        self._chance = chance
        self._synced: dict[int, tuple[int, int]] = {}
        self._locks: dict[int, tuple[Process | None, int]] = {}  # by inode: who holds it, through which descriptor
        self._descriptors: set[int] = set()
        self._moved: list[_Moved] = []
        self.slow = False

    def patches(self) -> list[tuple[object, str, object]]:
        """What to put in place of what."""
        return [
            (os, "fsync", self.fsync), (os, "close", self.close), (os, "open", self.open), (fcntl, "flock", self.flock),
            (os, "rename", self.rename), (os, "replace", self.replace),
            (millrace.blobs.publish, "rename_with", self.rename_with),
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
        if stat.S_ISDIR(facts.st_mode):
            self._moved = [one for one in self._moved if one.folder != facts.st_ino]

    def rename(self, source: str | Path, target: str | Path) -> None:
        self._move(Path(source), Path(target), lambda: _rename(source, target))

    def replace(self, source: str | Path, target: str | Path) -> None:
        self._move(Path(source), Path(target), lambda: _replace(source, target))

    def rename_with(self, flag: int, source: Path, target: Path) -> None:
        self._move(source, target, lambda: rename_with(flag, source, target), exchanged=flag == RENAME_EXCHANGE)

    def _move(self, source: Path, target: Path, move: Callable[[], None], *, exchanged: bool = False) -> None:
        before = target.read_bytes() if target.is_file() and not exchanged else None
        move()
        self._moved.append(_Moved(target.parent.stat().st_ino, source, target, exchanged, before))

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
        """Below this folder, renames that were not synced are undone, and files that were not synced as they are lose their bytes."""
        for moved in reversed(self._moved):
            if root in moved.target.parents and os.path.lexists(moved.target):
                _undo(moved)
                told(moved.target)
        self._moved = [one for one in self._moved if root not in one.target.parents]
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


def _undo(moved: _Moved) -> None:
    source, target = moved.source, moved.target
    if moved.exchanged and os.path.lexists(source):
        rename_with(RENAME_EXCHANGE, source, target)
    elif not moved.exchanged and source.parent.is_dir() and not os.path.lexists(source):
        _rename(target, source)
    elif target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    if moved.before is not None:
        target.write_bytes(moved.before)
