"""Control groups of every kind of system, over text and over a folder that behaves like the kernel's."""

import errno
import os
from pathlib import Path

import pytest

from millrace.process import grounds
from millrace.process.cgroup import Hierarchy, Resources, hierarchies, oom_kills, settings, tracking
from millrace.process.grounds import Grounds

V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
)
OWN_V1 = "9:name=systemd:/\n8:pids:/jobs\n6:freezer:/\n4:memory:/api/d2\n2:cpu,cpuacct:/jobs/a b\n"


def folders(mountinfo: str, own: str) -> dict[str, str]:
    return {",".join(sorted(each.controllers)) or "v2": str(each.folder) for each in hierarchies(mountinfo, own)}


@pytest.mark.parametrize(
    ("mountinfo", "own", "expected"),
    [
        (V2, "0::/user.slice/x.scope\n", {"v2": "/sys/fs/cgroup/user.slice/x.scope"}),
        (V2, "0::/\n", {"v2": "/sys/fs/cgroup"}),  # a container with a cgroup namespace
        (V2, "0::/../other\n", {}),  # outside of what its namespace shows
        (V2.replace("0:28 /", "0:28 /docker/7", 1), "0::/docker/7/a\n", {"v2": "/sys/fs/cgroup/a"}),
        (V2.replace("0:28 /", "0:28 /docker/7", 1), "0::/else\n", {}),
        ("", "0::/\n", {}),
        (V2, "", {}),
        ("nonsense\n1 2 - cgroup2\n", "0::/\n", {}),
    ],
)
def test_our_own_folder_is_found_or_left_out(mountinfo: str, own: str, expected: dict[str, str]) -> None:
    assert folders(mountinfo, own) == expected


def test_version_1_and_hybrid() -> None:
    found = folders(V1 + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"), OWN_V1 + "0::/\n")
    assert found["cpu,cpuacct,rw"] == "/sys/fs/cgroup/cpu,cpuacct/jobs/a b"
    assert found["memory,rw"] == "/sys/fs/cgroup/memory/api/d2"
    assert found["pids,rw"] == "/sys/fs/cgroup/pids/jobs"
    assert found["v2"] == "/sys/fs/cgroup/unified"


def test_the_whole_tree_is_held_by_version_2_or_the_freezer() -> None:
    both = hierarchies(V1 + V2, OWN_V1 + "0::/\n")
    held = tracking(both)
    assert held is not None
    assert held.version == 2
    only = tracking(hierarchies(V1, OWN_V1))
    assert only is not None
    assert "freezer" in only.controllers
    assert tracking(()) is None


@pytest.mark.parametrize(
    ("controller", "version", "expected"),
    [
        ("memory", 2, (("memory.max", "64"), ("memory.oom.group", "1"))),
        ("memory", 1, (("memory.limit_in_bytes", "64"),)),
        ("cpu", 2, (("cpu.max", "150000 100000"),)),
        ("cpu", 1, (("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "150000"))),
        ("pids", 2, (("pids.max", "7"),)),
        ("pids", 1, (("pids.max", "7"),)),
    ],
)
def test_what_a_limit_writes(controller: str, version: int, expected: tuple[tuple[str, str], ...]) -> None:
    assert settings(Resources(memory_bytes=64, cpus=1.5, pids=7), controller, version) == expected


def test_a_tiny_share_of_a_processor_is_the_least_that_the_kernel_takes() -> None:
    assert settings(Resources(cpus=0.001), "cpu", 2) == (("cpu.max", "1000 100000"),)


def test_kills_for_want_of_memory_are_counted() -> None:
    assert oom_kills("low 0\noom 2\noom_kill 1\noom_group_kill 1\n") == 1
    assert oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n") == 3
    assert oom_kills("") == 0


# Over a folder ------------------------------------------------------------------------------------------------------------


class Kernel:
    """Does for a folder what the kernel does for control groups of version 2, as far as it matters here."""

    def __init__(self, folder: Path, *, root: bool, procs: str = "", refuse: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self.root = root
        self.refuse = refuse
        (folder / "cgroup.controllers").write_text("cpu memory pids")
        (folder / "cgroup.procs").write_text(procs)

    def write(self, path: Path, text: str) -> None:
        if path.name in self.refuse:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        group = path.parent
        if path.name == "cgroup.subtree_control":
            holds = (group / "cgroup.procs").exists() and (group / "cgroup.procs").read_text().split()
            if holds and not (self.root and group == self.folder):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
            path.write_text((path.read_text() if path.exists() else "") + text)
            return
        if path.name == "cgroup.procs":
            for other in self.folder.rglob("cgroup.procs"):
                other.write_text("\n".join(line for line in other.read_text().split() if line != text))
            path.write_text(f"{path.read_text() if path.exists() else ''}\n{text}")
            return
        enabled = group.parent / "cgroup.subtree_control"
        if path.name.startswith(("memory", "pids", "cpu")) and path.name.split(".")[0] not in (
            enabled.read_text() if enabled.exists() else ""
        ):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        path.write_text(text)


OURS = 4242
EVERYTHING = Resources(memory_bytes=64 << 20, cpus=0.5, pids=9)


def made(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *pids: tuple[int, int]) -> Grounds:
    monkeypatch.setattr(grounds, "_write", kernel.write)
    proc = tmp_path / "proc"
    for pid, parent in ((OURS, 1), *pids):
        (proc / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "stat").write_text(f"{pid} (some (odd) name) S {parent} 1 1")
    return Grounds((Hierarchy(version=2, controllers=frozenset(), folder=kernel.folder),), pid=OURS, proc=proc)


def group(tmp_path: Path) -> Path:
    folder = tmp_path / "cgroup"
    folder.mkdir()
    return folder


def test_below_the_root_limits_are_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = group(tmp_path)
    place = made(Kernel(folder, root=True, procs="1\n4242"), monkeypatch, tmp_path).place(EVERYTHING)
    assert place.record.missing == ()
    assert set(place.record.applied) == {"memory", "cpu", "pids"}
    inner = folder / "millrace-4242" / "1"
    assert (inner / "memory.max").read_text() == str(64 << 20)
    assert (inner / "cpu.max").read_text() == "50000 100000"
    assert (inner / "pids.max").read_text() == "9"
    place.take(77)
    assert place.pids() == {77}


def test_a_delegated_group_is_left_for_one_beside_the_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = group(tmp_path)
    kernel = Kernel(folder, root=False, procs="4242\n4300")
    ours = made(kernel, monkeypatch, tmp_path, (4300, OURS))
    assert ours.place(EVERYTHING).record.missing == ()
    assert (folder / "cgroup.procs").read_text().split() == []
    assert (folder / "millrace-4242" / "self" / "cgroup.procs").read_text().split() == ["4242", "4300"]
    ours.close()
    assert (folder / "cgroup.procs").read_text().split() == ["4242", "4300"]


def test_a_shared_group_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = group(tmp_path)
    ours = made(Kernel(folder, root=False, procs="17\n4242"), monkeypatch, tmp_path, (17, 1))
    place = ours.place(Resources(pids=9))
    assert place.record.applied == ()
    (missing,) = place.record.missing
    assert missing.startswith("pids: ")
    assert "holds other processes too" in missing
    assert (folder / "cgroup.procs").read_text().split() == ["17", "4242"]
    place.take(77)  # it is gathered all the same
    assert place.pids() == {77}


def test_what_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernel = Kernel(group(tmp_path), root=True, refuse=frozenset({"memory.max"}))
    place = made(kernel, monkeypatch, tmp_path).place(EVERYTHING)
    assert set(place.record.applied) == {"cpu", "pids"}
    (missing,) = place.record.missing
    assert missing.startswith("memory: cannot write ")
    assert missing.endswith("Read-only file system")


def test_a_group_that_does_not_take_the_child_in_promises_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel = Kernel(group(tmp_path), root=True, refuse=frozenset({"cgroup.procs"}))
    place = made(kernel, monkeypatch, tmp_path).place(EVERYTHING)
    assert place.record.applied
    place.take(77)
    assert place.record.applied == ()
    assert any(reason.startswith("the whole tree: cannot write") for reason in place.record.missing)


def test_without_control_groups_every_limit_is_missing() -> None:
    place = Grounds((), pid=OURS).place(EVERYTHING)
    assert place.record.applied == ()
    assert {reason.split(":")[0] for reason in place.record.missing} == {"memory", "cpu", "pids", "the whole tree"}
    place.take(os.getpid())
    place.kill()
    assert place.pids() == set()
    assert place.remove()


def test_folders_of_the_dead_are_removed_and_those_of_the_living_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = group(tmp_path)
    (folder / "millrace-99999" / "3").mkdir(parents=True)
    (folder / "millrace-55" / "3").mkdir(parents=True)
    (folder / "somebody-else").mkdir()
    made(Kernel(folder, root=True), monkeypatch, tmp_path, (55, 1)).place(Resources())
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [
        "millrace-4242", "millrace-55", "somebody-else",
    ]  # fmt: skip
