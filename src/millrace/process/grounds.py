"""Control groups made and removed: one for this process, and in it one for each child.

A supervisor also goes into one itself, with all that it starts: they are born there, and no move is waited for.

Everything lies below our own control group, in a folder `millrace-PID`, and goes at the end. What cannot be done is
recorded, never an error: many containers show their control groups read-only.
"""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from millrace.process.cgroup import Hierarchy, Placed, Resources, hierarchies, oom_kills, settings, tracking
from millrace.telemetry.logs import logger

log = logger("process")

_PREFIX = "millrace-"
_SELF = "self"
_TOGETHER = "0"  # a number, like those of the children, so that the warden kills what is in it
_PROC = Path("/proc")
_OPTIONAL = {"memory.oom.group"}  # since Linux 4.19


class Place:
    """The control groups of one child."""

    def __init__(self, folders: tuple[Path, ...], record: Placed) -> None:
        """Use `Grounds.place`."""
        self._folders = folders
        self.record = record

    def take(self, pid: int) -> None:
        """Put a fresh process here, with what it has started meanwhile. What it starts later is here by itself."""
        waiting = [pid]
        while waiting:
            one = waiting.pop()
            for folder in self._folders:
                try:
                    _write(folder / "cgroup.procs", str(one))
                except ProcessLookupError:  # ended already
                    pass
                except OSError as error:
                    self._lose(folder, error)
            waiting += _children(one)

    def _lose(self, folder: Path, error: OSError) -> None:
        """It would not take the child in, so no limit of this place can be relied on."""
        self._folders = tuple(one for one in self._folders if one != folder)
        _remove(folder)
        self.record = Placed(missing=(*self.record.missing, *self.record.applied, f"the whole tree: {_why(error)}"))

    def pids(self) -> set[int]:
        """Every process in it, also those in groups of their own making."""
        if not self._folders:
            return set()
        return {int(line) for folder in _tree(self._folders[0]) for line in _read(folder / "cgroup.procs").split()} - {
            0
        }

    def kill(self) -> None:
        """SIGKILL for all of it at once, also for what is just being born."""
        for folder in self._folders:
            if (folder / "cgroup.kill").exists():  # version 2, since Linux 5.14
                with suppress(OSError):
                    _write(folder / "cgroup.kill", "1")
                return
        frozen = [folder for folder in self._folders if _freeze(folder, frozen=True)]
        for pid in self.pids():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for folder in frozen:
            _freeze(folder, frozen=False)

    @property
    def oom_kills(self) -> int:
        """How many processes of it the kernel has killed for want of memory."""
        names = ("memory.events", "memory.oom_control")
        return max((oom_kills(_read(folder / name)) for folder in self._folders for name in names), default=0)

    def remove(self) -> bool:
        """Take the folders away; False while something is left in them."""
        gone = [_remove(folder) for folder in self._folders]
        return all(gone)


class Grounds:
    """Ours in every tree of control groups, with room for children. `close` removes them."""

    def __init__(self, found: tuple[Hierarchy, ...], *, pid: int, proc: Path = _PROC) -> None:
        """Nothing is made before the first child. `pid` is ours, `proc` where processes are looked up."""
        self._found = found
        self._name = f"{_PREFIX}{pid}"
        self._pid = pid
        self._proc = proc
        self._number = 0
        self._enabled: dict[str, str | None] = {}  # of version 2: why a controller cannot be had
        self._left: list[Place] = []
        self._swept = False

    @classmethod
    def here(cls) -> "Grounds":
        """Those of this process."""
        own, mounts = _read(_PROC / "self" / "cgroup"), _read(_PROC / "self" / "mountinfo")
        return cls(hierarchies(mounts, own), pid=os.getpid())

    @property
    def bases(self) -> tuple[Path, ...]:
        """The folders that hold those of the children, whether they are there or not."""
        return tuple(each.folder / self._name for each in self._found)

    def gather(self) -> None:
        """Go into a group with all that is started from now on, where there is one that could hold it. Takes 10 ms."""
        self._sweep()
        followed = tracking(self._found)
        if followed is not None:
            folder = followed.folder / self._name / _TOGETHER
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                _write(folder / "cgroup.procs", str(self._pid))

    def leave(self) -> None:
        """Out of that group again, alone, if that can be before those in it have ended. Takes 10 ms, too."""
        followed = tracking(self._found)
        if followed is not None and not self._enabled:  # a group that hands limits down takes no process back
            with suppress(OSError):
                _write(followed.folder / "cgroup.procs", str(self._pid))

    def place(self, resources: Resources) -> Place:
        """Make the groups for one child and write its limits. Never fails: the record says what is missing."""
        self._sweep()
        self._number += 1
        self._left = [place for place in self._left if not place.remove()]
        followed = tracking(self._found)
        folders: list[Path] = []
        applied: list[str] = []
        missing = dict.fromkeys(resources.wanted, "no control group of ours has it")
        if followed is None:
            missing["the whole tree"] = "there is no control group that could hold it"
        for each in sorted(self._found, key=lambda one: one is not followed):  # what holds the tree comes first
            able = self._able(each, resources)
            if each is not followed and not able:
                continue
            try:
                folder = self._make(each)
            except OSError as error:
                for name in able or ["the whole tree"]:
                    missing[name] = _why(error)
                continue
            folders.append(folder)
            for name in able:
                reason = self._limit(folder, name, each.version, resources)
                if reason is None:
                    applied.append(name)
                    missing.pop(name, None)
                else:
                    missing[name] = reason
        reasons = tuple(f"{name}: {why}" for name, why in missing.items())
        return Place(tuple(folders), Placed(applied=tuple(applied), missing=reasons))

    def forget(self, place: Place) -> None:
        """The child has ended: remove its groups now, or when the kernel lets us."""
        if not place.remove():
            self._left.append(place)

    def close(self) -> None:
        """Remove what we made."""
        for place in self._left:
            place.remove()
        for each in self._found:
            base = each.folder / self._name
            inside = [base / name for name in (_SELF, _TOGETHER) if (base / name).is_dir()]
            if inside and self._enabled:  # a group that hands limits down takes no process back
                with suppress(OSError):
                    names = _read(each.folder / "cgroup.subtree_control").split()
                    _write(each.folder / "cgroup.subtree_control", " ".join(f"-{name}" for name in names))
            for pid in (pid for folder in inside for pid in _read(folder / "cgroup.procs").split()):
                with suppress(OSError):
                    _write(each.folder / "cgroup.procs", pid)
            _remove(base)

    def _make(self, each: Hierarchy) -> Path:
        folder = each.folder / self._name / str(self._number)
        folder.mkdir(parents=True)
        return folder

    def _able(self, each: Hierarchy, resources: Resources) -> list[str]:
        """Which of the wanted controllers this tree has."""
        if each.version == 1:
            return [name for name in resources.wanted if name in each.controllers]
        offered = _read(each.folder / "cgroup.controllers").split()
        return [name for name in resources.wanted if name in offered]

    def _limit(self, folder: Path, name: str, version: int, resources: Resources) -> str | None:
        if version == 2:
            if name not in self._enabled:
                self._enabled[name] = self._enable(folder.parent, name)
            if (reason := self._enabled[name]) is not None:
                return reason
        for file, text in settings(resources, name, version):
            try:
                _write(folder / file, text)
            except OSError as error:
                if file not in _OPTIONAL:
                    return _why(error)
        return None

    def _enable(self, base: Path, name: str) -> str | None:
        """Hand a controller of version 2 down to our children; why that cannot be done."""
        try:
            try:
                _write(base.parent / "cgroup.subtree_control", f"+{name}")
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                # A group that holds processes hands nothing down, so we move to one beside those of the children.
                (base / _SELF).mkdir(exist_ok=True)
                for pid in _read(base.parent / "cgroup.procs").split():
                    if not self._ours(int(pid)):
                        return (
                            f"{base.parent} holds other processes too; start this in a control group of its own "
                            "(systemd: Delegate=yes)"
                        )
                    _write(base / _SELF / "cgroup.procs", pid)
                _write(base.parent / "cgroup.subtree_control", f"+{name}")
            _write(base / "cgroup.subtree_control", f"+{name}")
        except OSError as error:
            return _why(error)
        return None

    def _ours(self, pid: int) -> bool:
        """Whether a process is this one or descends from it."""
        while pid > 1:
            if pid == self._pid:
                return True
            # The name stands in parentheses and may hold any byte, so everything is counted from the last one.
            fields = _read(self._proc / str(pid) / "stat").rpartition(")")[2].split()
            pid = int(fields[1]) if len(fields) > 1 else 0
        return pid == self._pid

    def _sweep(self) -> None:
        """Once: remove empty folders of those that were killed before they could."""
        if self._swept:
            return
        self._swept = True
        for each in self._found:
            for base in sorted(each.folder.glob(f"{_PREFIX}*")) if each.folder.is_dir() else ():
                pid = base.name.removeprefix(_PREFIX)
                if pid.isdecimal() and not (self._proc / pid).exists():
                    _remove(base)


def _freeze(folder: Path, *, frozen: bool) -> bool:
    """Hold or let go a group; whether it can be held."""
    for file, text in (("cgroup.freeze", str(int(frozen))), ("freezer.state", "FROZEN" if frozen else "THAWED")):
        if (folder / file).exists():
            with suppress(OSError):
                _write(folder / file, text)
                return True
    return False


def _tree(folder: Path) -> Iterator[Path]:
    """The folder and all below it, the outer ones first."""
    yield folder
    with suppress(OSError):
        for inner in folder.iterdir():
            if inner.is_dir():
                yield from _tree(inner)


def _remove(folder: Path) -> bool:
    """Remove a group with those in it, as far as they are empty; whether it is gone."""
    for inner in reversed([*_tree(folder)]):
        with suppress(OSError):
            inner.rmdir()
    return not folder.exists()


def _children(pid: int) -> list[int]:
    return [int(word) for word in _read(_PROC / str(pid) / "task" / str(pid) / "children").split()]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: Path, text: str) -> None:
    # Without O_CREAT: these files are the kernel's, and where one is missing there must be an error.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def _why(error: OSError) -> str:
    return f"cannot write {error.filename}: {error.strerror}" if error.filename else str(error.strerror)


class _Here:
    grounds: Grounds | None = None  # of the whole process, as its control group is


def grounds() -> Grounds:
    """Those of this process, looked up when first needed."""
    if _Here.grounds is None:
        _Here.grounds = Grounds.here()
    return _Here.grounds


def rehearsed(resources: Resources) -> Placed:
    """What would be in force for a child with these limits, and what not."""
    place = grounds().place(resources)
    grounds().forget(place)
    return place.record


def close_grounds() -> None:
    """Remove what was made for children, which must have ended."""
    if _Here.grounds is not None:
        _Here.grounds.close()
        _Here.grounds = None
