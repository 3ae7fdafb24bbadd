"""A disk whose power can be cut: ext4 on a loop device, shut down with EXT4_IOC_SHUTDOWN, which forgets what was not synced.

With NOLOGFLUSH nothing more reaches the device from that moment on, not even the journal; whoever writes gets EIO. After
unmounting and mounting again the disk holds what a power cut would leave. It takes root, loop devices and ext4 in the kernel.
"""

import ctypes
import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, `_IOR('X', 125, __u32)` of linux/fs/ext4/ext4.h."""
_NOLOGFLUSH = 2
_CLONE_NEWNS = 0x00020000
"""Of linux/sched.h."""
SIZE_MB = 256
_LET_GO_S = 20.0


class Unable(Exception):  # noqa: N818  it tells what this machine cannot do
    """This machine cannot cut the power of a disk; the message says why."""


class Disk:
    """Mounted at `path` until `cut`, and again after `mount`."""

    def __init__(self, image: Path, path: Path) -> None:
        self._image = image
        self.path = path

    def make(self) -> None:
        """Raises Unable."""
        if os.geteuid() != 0:
            raise Unable("it takes root")
        if not Path("/dev/loop-control").exists():
            raise Unable("there are no loop devices (/dev/loop-control)")
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(SIZE_MB << 20)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image))
        self.mount()

    def mount(self) -> None:
        """As it was left. A long interval of commits keeps the kernel from syncing by itself what nobody has asked for."""
        _run("mount", "-o", "loop,commit=300", str(self._image), str(self.path))

    def cut(self) -> None:
        """From here on nothing more is kept."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _NOLOGFLUSH.to_bytes(4, "little"))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Once the last who had something open on it has gone, and the last sandbox that has a copy of the mount: until then a new mount
        would be of the same file system, shut down as it is.
        """
        self._until(lambda: not _fails("umount", str(self.path)))
        self._until(lambda: not _run("losetup", "-j", str(self._image)))

    def _until(self, done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + _LET_GO_S
        while not done():
            if time.monotonic() > deadline_s:
                raise Unable(f"{self.path} is still in use after {_LET_GO_S:g} s")
            time.sleep(0.05)  # noqa: TID251  the kernel tells nobody


def keep_to_ourselves() -> None:
    """Mounts of this process and its children are seen by nobody else from now on, or any sandbox on the machine would hold a copy.

    Raises:
        Unable: it is not permitted.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        raise Unable(f"unshare: {os.strerror(ctypes.get_errno())}")
    _run("mount", "--make-rprivate", "/")


def _fails(*command: str) -> bool:
    try:
        _run(*command)
    except Unable:
        return True
    return False


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Unable(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise Unable(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """A fresh one, unmounted in the end.

    Raises:
        Unable: there can be none.
    """
    made = Disk(folder / "disk.img", folder / "disk")
    try:
        made.make()
        yield made
    finally:
        with suppress(Unable):
            made.unmount()
        (folder / "disk.img").unlink(missing_ok=True)
