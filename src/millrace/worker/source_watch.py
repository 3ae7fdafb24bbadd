"""Whether an input still is what it was when its attempt began. Nobody else is kept from writing to a file that lies in a shared folder."""

import hashlib
import os
from pathlib import Path

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.worker.failure import TaskFailedError

SAMPLES, SAMPLE_BYTES = 16, 4096


class Seen(Struct, frozen=True, kw_only=True):
    """An input as it was seen: its length, when it was written to and as which file, and the SHA-256 of samples spread over it, which
    is the same on every machine.
    """

    size: int
    written_ns: int
    inode: int
    samples: str


def look(path: Path) -> Seen:
    """The input as it is now. Blocking. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        last = max(0, found.st_size - SAMPLE_BYTES)
        for number in range(SAMPLES):
            digest.update(os.pread(file.fileno(), SAMPLE_BYTES, last * number // (SAMPLES - 1)))
    return Seen(size=found.st_size, written_ns=found.st_mtime_ns, inode=found.st_ino, samples=digest.hexdigest())


def check_unchanged(path: Path, seen: Seen) -> None:
    """Pass, if it is as it was seen. Blocking. Raises TaskFailedError, class `input`."""
    try:
        now = look(path)
    except OSError as error:
        raise changed(f"it is gone ({error.strerror})") from error
    if now.size != seen.size:
        raise changed(f"it had {seen.size} bytes and has {now.size}")
    if now != seen:
        raise changed("another one lies in its place" if now.inode != seen.inode else "it was written to")


def changed(how: str) -> TaskFailedError:
    """The failure of an attempt whose input is another one by now."""
    return TaskFailedError(
        FailureClass.INPUT,
        f"cannot take what was made: the input changed while it was read, {how}; submit the job again when nothing writes to it any more",
    )
