"""The memory and the CPUs that we may use: the tightest limit of every cgroup above us, v2 and v1, the CPU set, and the host."""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from millrace.supervisor.tuning.values import CannotTune, Resources

_MIB = 1 << 20


def resources(root: Path = Path("/"), *, affinity: int | None = None) -> Resources:
    """What there is for a process started here. `root` and `affinity` (CPUs of the CPU set) are for tests.

    Raises:
        CannotTune: the system does not say how much memory there is.
    """
    memory = [(_host_memory(root), "host")]
    cpus = [(Fraction(os.cpu_count() or 1), "host")]
    allowed = len(os.sched_getaffinity(0)) if affinity is None else affinity
    if allowed < cpus[0][0] or affinity is not None:
        cpus.append((Fraction(allowed), "the CPU set"))
    for folder in _folders(root, None):
        memory += [
            (limit, _shown(folder / name, root))
            for name in ("memory.max", "memory.high")
            if (limit := _number(folder / name))
        ]
        if quota := _quota_v2(folder / "cpu.max"):
            cpus.append((quota, _shown(folder / "cpu.max", root)))
    for folder in _folders(root, "memory"):
        name = "memory.limit_in_bytes"
        if limit := _number(folder / name):
            memory.append((limit, _shown(folder / name, root)))
    for folder in _folders(root, "cpu"):
        quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota_us and period_us:
            cpus.append((Fraction(quota_us, period_us), _shown(folder / "cpu.cfs_quota_us", root)))
    # The host comes first, and so wins over what bounds nothing, such as the 2^63 less a page that v1 says for no limit.
    least, least_from = min(memory, key=lambda each: each[0])
    fewest, fewest_from = min(cpus, key=lambda each: each[0])
    return Resources(memory_mb=least // _MIB, cpus=fewest, memory_from=least_from, cpus_from=fewest_from)


def _folders(root: Path, controller: str | None) -> Iterator[Path]:
    """Our cgroup and all above it that can be seen, of a v1 controller or (None) of v2.

    In a container the path that the kernel tells may be that of the host, which is not there; its own cgroup is the mount's root.
    """
    path = _own_path(root, controller)
    if path is None:
        return
    base = root / "sys/fs/cgroup"
    if controller is None:
        mount = base if (base / "cgroup.controllers").exists() else base / "unified"
    else:
        mount = base / controller
        if not mount.is_dir():
            mount = next((each for each in sorted(base.glob("*,*")) if controller in each.name.split(",")), mount)
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        folder = mount.joinpath(*parts[:length])
        if folder.is_dir():
            yield folder


def _own_path(root: Path, controller: str | None) -> str | None:
    """The third field of our line in /proc/self/cgroup, cgroups(7)."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if (controller is None and not names) or (controller is not None and controller in names.split(",")):
            return path
    return None


def _host_memory(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal" and rest.split()[:1]:
            return int(rest.split()[0]) * 1024
    raise CannotTune(
        "cannot tell how much memory there is: /proc/meminfo does not say; give the size of the pool yourself"
    )


def _number(file: Path) -> int | None:
    """A positive number; None where there is no limit, or no such file."""
    text = _text(file).strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _quota_v2(file: Path) -> Fraction | None:
    """`cpu.max` holds a quota, or the word max, and a period."""
    quota, _, period = _text(file).strip().partition(" ")
    if not quota.isdecimal() or not period.isdecimal() or not int(period) or not int(quota):
        return None
    return Fraction(int(quota), int(period))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _shown(file: Path, root: Path) -> str:
    return f"/{file.relative_to(root)}"
