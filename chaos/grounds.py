"""What this machine lets us do to a network and to disks, without a trace: in namespaces of our own, which end with us.

Everything has its net below: without namespaces hosts are cut off by their doors (`proxy`), and no disk gets full.
"""

import ctypes
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from chaos.processes import with_us
from millrace.blobs.values import PRIVATE

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
PR_SET_CHILD_SUBREAPER = 36
_NOWHERE = "02:00:00:00:00:ff"
"""A hardware address that nobody has: what is sent there is lost without a word."""
_FILLER = f"{PRIVATE}-filler"


class Grounds(Struct, frozen=True):
    """What we may do; for what we may not, why."""

    network: bool
    disks: bool
    reason: str = ""


def enter() -> Grounds:
    """Go into namespaces of our own, with all that we start, and adopt every orphan below us. Before the first thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if shutil.which("ip") is None or shutil.which("nsenter") is None:
        return Grounds(False, False, "ip(8) or nsenter(1) is missing")
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        return Grounds(False, False, f"no namespaces: {os.strerror(ctypes.get_errno())}")
    try:
        run("ip", "link", "set", "lo", "up")
        run("mount", "--make-rprivate", "/")
    except OSError as error:
        return Grounds(False, False, str(error))
    try:
        trial = Island(0)
        trial.end()
    except OSError as error:
        return Grounds(False, True, str(error))
    return Grounds(True, True)


def run(*command: str) -> None:
    """Run a tool. Raises OSError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


class Island:
    """The network of one host: a cable to us, and nothing else."""

    def __init__(self, number: int) -> None:
        """Raises OSError where it cannot be had."""
        self._ours, self._theirs = f"10.77.{number}.1", f"10.77.{number}.2"
        self._macs = f"02:00:00:00:{number:02x}:01", f"02:00:00:00:{number:02x}:02"
        self._cable = f"island{number}"
        # It holds the namespace open, and says when it is in it.
        self._holder = subprocess.Popen(
            [*with_us(), "unshare", "--net", "--", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        try:
            there = f"{self._cable}t"
            run("ip", "link", "add", self._cable, "address", self._macs[0], "type", "veth",
                "peer", "name", there, "address", self._macs[1])  # fmt: skip
            run("ip", "link", "set", there, "netns", str(self._holder.pid))
            run("ip", "address", "add", f"{self._ours}/30", "dev", self._cable)
            run("ip", "link", "set", self._cable, "up")
            for words in (("link", "set", "lo", "up"), ("address", "add", f"{self._theirs}/30", "dev", there), ("link", "set", there, "up")):  # fmt: skip
                run(*self.prefix, "ip", *words)
            self.heal()
        except OSError:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """The process that holds it."""
        return self._holder.pid

    @property
    def address(self) -> str:
        """Where those inside find us."""
        return self._ours

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command line begins with that is to run inside."""
        return "nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--"

    def cut(self, *, up: bool, down: bool) -> None:
        """Packets from inside (`up`), to it (`down`) are lost from now on, also those of open connections."""
        self._send(up=not up, down=not down)

    def heal(self) -> None:
        """They arrive again."""
        self._send(up=True, down=True)

    def _send(self, *, up: bool, down: bool) -> None:
        run(*self.prefix, "ip", "neigh", "replace", self._ours, "lladdr", self._macs[0] if up else _NOWHERE,
            "dev", f"{self._cable}t", "nud", "permanent")  # fmt: skip
        run("ip", "neigh", "replace", self._theirs, "lladdr", self._macs[1] if down else _NOWHERE,
            "dev", self._cable, "nud", "permanent")  # fmt: skip

    def end(self) -> None:
        """Gone, with its cable."""
        with suppress(OSError):
            run("ip", "link", "delete", self._cable)
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


class Disk:
    """A small file system at a folder, which can be filled to the last byte; or just the folder, which cannot."""

    def __init__(self, path: Path, grounds: Grounds, *, megabytes: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.own = grounds.disks
        if self.own:
            run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(path))

    def fill(self) -> None:
        """No room is left."""
        with (self.path / _FILLER).open("wb") as file:
            file.truncate(0)
            while free := os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, free)
                except OSError:
                    break

    def clear(self) -> None:
        """There is room again."""
        (self.path / _FILLER).unlink(missing_ok=True)

    def end(self) -> None:
        """Unmounted; its files are gone."""
        if self.own:
            with suppress(OSError):
                run("umount", "--lazy", str(self.path))
