"""The few file-system calls that make a write durable and atomic, and what their errors mean."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millrace.blobs.values import BlobError, BlobsFull, BlobsRefused, BlobsUnavailable
from millrace.runtime.no_space import NO_SPACE

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EBUSY,
    errno.ELOOP,
}


class NotSupported(Exception):  # noqa: N818  caught next to the call
    """This system or file system has no such rename."""


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn an OSError inside into the BlobError that says what to do. `doing` continues "cannot"."""
    try:
        yield
    except OSError as error:
        raise explain(doing, error) from error


def explain(doing: str, error: OSError) -> BlobError:
    """The BlobError for an OSError."""
    if error.errno in NO_SPACE:
        return BlobsFull(f"cannot {doing}: no space is left on the disk; free some or name another place")
    why = error.strerror or str(error)
    if error.errno == errno.EBUSY:
        return BlobsRefused(f"cannot {doing}: it is in use, or is a mount point; name a folder below it")
    if error.errno in _REFUSED:
        return BlobsRefused(f"cannot {doing}: {why}; check the path and its permissions")
    return BlobsUnavailable(f"cannot {doing}: {why}")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename is not, until its folder is synced (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable, whoever wrote them."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Like mkdir -p, and durable."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def rename_with(flag: int, source: Path, target: Path) -> None:
    """renameat2(2): RENAME_NOREPLACE raises FileExistsError, RENAME_EXCHANGE swaps the two names at once.

    Raises NotSupported where the C library, the kernel or the file system cannot.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise NotSupported
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) != 0:
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise NotSupported
        raise OSError(number, os.strerror(number), str(target))
