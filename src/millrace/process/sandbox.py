"""What an untrusted child may reach: needs and what the machine can do, turned into options. Decides, does nothing.

The options are bubblewrap's own words (bwrap(1)), so that one list serves both `confine` and bubblewrap itself.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from msgspec import Struct


class Mechanism(StrEnum):
    """What shuts a child in, best first."""

    NAMESPACES = "namespaces"  # made by ourselves
    BUBBLEWRAP = "bubblewrap"  # made by bwrap, where only that may
    FILTER = "filter"  # no namespaces: system calls are filtered, privileges given up
    NONE = "none"


class Demand(StrEnum):
    """What people want."""

    AUTO = "auto"  # the best that works here, with a warning where that is not all
    REQUIRE = "require"  # all of it, or nothing runs
    OFF = "off"


class Able(Struct, frozen=True, kw_only=True):
    """What works for one program on this machine, found by trying it.

    Attributes:
        mechanism: the best that worked.
        user_namespace: whether a user namespace is part of it; root needs none.
        bwrap: where bubblewrap is; empty unless that is the mechanism.
        refused: for each better mechanism, why it did not work.
    """

    mechanism: Mechanism
    user_namespace: bool = False
    bwrap: str = ""
    refused: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return self.mechanism in (Mechanism.NAMESPACES, Mechanism.BUBBLEWRAP)


class Sandbox(Struct, frozen=True, kw_only=True):
    """What one child needs. All else is hidden or denied, as far as `able` goes.

    Attributes:
        able: what works here.
        reads: files and folders that it may read, beside the system's programs and libraries.
        writes: folders that it may change; within one that lies in another, the inner one counts.
        network: whether it has the machine's network; otherwise it has not even a loopback.
        devices: files below /dev that it may use, beside null, zero, full, random and urandom.
    """

    able: Able
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    network: bool = False
    devices: tuple[Path, ...] = ()


class Host(Struct, frozen=True, kw_only=True):
    """What of the system is shown to every child: folders and files, and links with their targets."""

    shown: tuple[Path, ...]
    links: tuple[tuple[str, Path], ...] = ()


class Confinement(Struct, frozen=True, kw_only=True):
    """The record of a child: what shuts it in, what is in force, and what is not and why."""

    mechanism: Mechanism
    in_force: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.mechanism}: {', '.join(self.in_force) or 'nothing is in force'}"]
        if self.missing:
            parts.append(f"not in force: {', '.join(self.missing)}")
        return "; ".join(parts)


PRIVILEGES = ("no new privileges", "system call filter")
NO_CAPABILITIES = "no capabilities"
READING = "no capability but to read files of others"
USING = "no capability but to use files of others"
"""Of a root without a user namespace: the first behind hidden files, the other with the filter alone."""
WALLS = (
    "processes of its own", "files hidden", "inputs read-only", "fresh /tmp", "shared memory of its own",
)  # fmt: skip
NO_NETWORK = "no network"


def confinement(sandbox: Sandbox | None) -> Confinement:
    """What holds for a child that has started so: `confine` starts nothing unless all of it does."""
    if sandbox is None or sandbox.able.mechanism is Mechanism.NONE:
        refused = ("it is switched off",) if sandbox is None else sandbox.able.refused
        return Confinement(mechanism=Mechanism.NONE, missing=refused)
    able = sandbox.able
    network = () if sandbox.network else (NO_NETWORK,)
    if not able.whole:
        return Confinement(
            mechanism=able.mechanism, in_force=(*PRIVILEGES, USING, *network), missing=(*WALLS, *able.refused)
        )
    users = ("users of its own",) if able.user_namespace else ()
    capabilities = NO_CAPABILITIES if able.user_namespace else READING
    return Confinement(mechanism=able.mechanism, in_force=(*WALLS, *users, *network, *PRIVILEGES, capabilities))


def options(sandbox: Sandbox, *, host: Host, program: Path, cwd: Path) -> tuple[str, ...]:
    """Options for `confine`, in the order in which they are to be done. `program` and `cwd` are absolute."""
    able = sandbox.able
    if not able.whole:
        # A root without a user namespace keeps to itself what file modes would forbid: nothing else is hidden from it.
        return ("--cap-drop", "ALL", *_kept("CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"))
    words = ["--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    words += ["--unshare-user"] * able.user_namespace + ["--unshare-net"] * (not sandbox.network)
    words += ["--cap-drop", "ALL"]
    if not able.user_namespace:
        # Films often belong to somebody else than the root that works on them. Nothing is in sight that this opens.
        words += _kept("CAP_DAC_READ_SEARCH")
    for target, link in host.links:
        words += ["--symlink", target, str(link)]
    words += ["--tmpfs", "/tmp", "--dev", "/dev"]  # noqa: S108  of the child alone
    words += ["--proc", "/proc", "--remount-ro", "/proc"]  # root could change the kernel's settings there
    for device in sandbox.devices:
        words += ["--dev-bind", str(device), str(device)]
    shown = (*host.shown, program.parent, *sandbox.reads)
    for word, path in _inner_last((*_each("--ro-bind", shown), *_each("--bind", sandbox.writes))):
        words += [word, str(path), str(path)]
    return (*words, "--dir", str(cwd), "--remount-ro", "/", "--chdir", str(cwd))


def _kept(*names: str) -> list[str]:
    return [word for name in names for word in ("--cap-add", name)]


def _each(word: str, paths: Iterable[Path]) -> list[tuple[str, Path]]:
    return [(word, path) for path in paths]


def _inner_last(binds: Iterable[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """What lies in another folder comes after it; of one path, the last word counts."""
    last = {path: word for word, path in binds}
    return sorted(((word, path) for path, word in last.items()), key=lambda bind: len(bind[1].parts))
