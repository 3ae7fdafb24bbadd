"""Control groups: where ours are, and what has to be written for a limit. Reads text, decides, touches nothing (cgroups(7))."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from msgspec import Struct

PERIOD_US = 100_000
"""Of CPU quotas; the kernel's own default."""
CONTROLLERS = ("memory", "cpu", "pids")


class Resources(Struct, frozen=True, kw_only=True):
    """Limits of a whole tree of processes together; None for no limit. `cpus` are CPU seconds per second, such as 1.5."""

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """The controllers that it takes."""
        amounts = (self.memory_bytes, self.cpus, self.pids)
        return tuple(name for name, amount in zip(CONTROLLERS, amounts, strict=True) if amount is not None)


class Hierarchy(Struct, frozen=True, kw_only=True):
    """One tree of control groups, and our own folder in it. `controllers` are those of version 1; version 2 tells its in files."""

    version: int
    controllers: frozenset[str]
    folder: Path


class Placed(Struct, frozen=True, kw_only=True):
    """The record of a child: which limits of its tree are in force, and which are not and why."""

    applied: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def hierarchies(mountinfo: str, own: str) -> tuple[Hierarchy, ...]:
    """From /proc/self/mountinfo and /proc/self/cgroup (proc(5)); trees in which we cannot see ourselves are left out."""
    paths = _own_paths(own)
    found: list[Hierarchy] = []
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not dash or len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        names = frozenset(kind[2].split(",")) if kind[0] == "cgroup" else frozenset[str]()
        path = next((path for keys, path in paths if (not keys and kind[0] == "cgroup2") or keys & names), None)
        folder = None if path is None else _below(path, _plain(fields[3]), _plain(fields[4]))
        if folder is not None and all(folder != known.folder for known in found):
            version = 2 if kind[0] == "cgroup2" else 1
            found.append(Hierarchy(version=version, controllers=names, folder=folder))
    return tuple(found)


def _own_paths(own: str) -> list[tuple[frozenset[str], str]]:
    """Names of the controllers and our path, of each line; version 2 has none."""
    lines = [line.split(":", 2) for line in own.splitlines() if line.count(":") >= 2]
    return [(frozenset(filter(None, names.split(","))), path) for _, names, path in lines]


def _below(path: str, root: str, mount: str) -> Path | None:
    """Our folder, where the mount shows the part of the tree that begins at `root`."""
    inner = PurePosixPath(path)
    if ".." in inner.parts or not inner.is_relative_to(root):
        return None
    return Path(mount) / inner.relative_to(root)


def _plain(text: str) -> str:
    """Without the escapes of mountinfo."""
    return text.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\012", "\n").replace(r"\134", "\\")


def settings(resources: Resources, controller: str, version: int) -> tuple[tuple[str, str], ...]:
    """The files of one controller to write, in order, with what."""
    if controller == "pids":
        return (("pids.max", str(resources.pids)),)
    if controller == "cpu":
        quota = str(max(1000, round((resources.cpus or 0) * PERIOD_US)))  # the least that the kernel takes
        if version == 2:
            return (("cpu.max", f"{quota} {PERIOD_US}"),)
        return (("cpu.cfs_period_us", str(PERIOD_US)), ("cpu.cfs_quota_us", quota))
    if version == 2:
        # One that runs out of memory ends as a whole: half a tree is nobody's wish.
        return (("memory.max", str(resources.memory_bytes)), ("memory.oom.group", "1"))
    return (("memory.limit_in_bytes", str(resources.memory_bytes)),)


def oom_kills(text: str) -> int:
    """How often the kernel killed for want of memory, from memory.events or memory.oom_control."""
    for line in text.splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return 0


def tracking(found: Iterable[Hierarchy]) -> Hierarchy | None:
    """Where to gather a tree so that all of it can be killed: version 2, or the freezer of version 1."""
    known = tuple(found)
    second = next((each for each in known if each.version == 2), None)
    return second or next((each for each in known if "freezer" in each.controllers), None)
