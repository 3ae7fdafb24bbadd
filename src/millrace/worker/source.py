"""Which film an input is: the SHA-256 of its bytes, and how to see that it is still the same. Nobody is kept from writing to a file that
lies in a shared folder.
"""

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.failures import FailureClass
from millrace.worker.failure import TaskFailedError

T = TypeVar("T")

SAMPLES, SAMPLE_BYTES = 16, 4096

_READ_BYTES = 1 << 20
_TICK_S, _COARSE_TICK_S = 0.1, 2.1
"""What is written twice within a tick of its file system's clock has the same times afterwards. Some clocks count whole seconds."""
_SECOND_NS = 10**9


class Marks(Struct, frozen=True):
    """What of a file changes when it is written to or replaced."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    def are_those_of(self, other: "Marks") -> bool:
        """Whether another machine saw the same file, unchanged: there its file system may be another device."""
        return replace(self, device=0) == replace(other, device=0)

    def is_file_of(self, other: "Marks") -> bool:
        """Whether it is the same file, of the same length, whatever its times are."""
        return (self.device, self.inode, self.size) == (other.device, other.inode, other.size)

    def settled_in_s(self, now_s: float) -> float:
        """Seconds until another change of the file would surely change its times."""
        is_coarse = self.modified_ns % _SECOND_NS == 0 and self.changed_ns % _SECOND_NS == 0
        tick_s = _COARSE_TICK_S if is_coarse else _TICK_S
        return min(tick_s, max(0.0, tick_s - (now_s - max(self.modified_ns, self.changed_ns) / _SECOND_NS)))


class Identity(Struct, frozen=True):
    """The SHA-256 of a file's bytes; it holds as long as the marks do."""

    marks: Marks
    sha256: str


class Seen(Struct, frozen=True):
    """A file as it was seen: its marks, and the SHA-256 of samples spread over it."""

    marks: Marks
    samples: str


class Source(Struct, frozen=True):
    """A file whose bytes are known. `is_ours`: it was fetched, so that nobody else writes to it."""

    path: Path
    identity: Identity
    is_ours: bool = False

    @property
    def sha256(self) -> str:
        """Of all its bytes."""
        return self.identity.sha256

    def is_unchanged(self) -> bool:
        """Whether it is still what it was when it was read. Blocking."""
        if self.is_ours:  # its times change whenever another task gets it, too
            return True
        try:
            return marks_of(self.path) == self.identity.marks
        except OSError:
            return False


def marks_of(path: Path) -> Marks:
    """The marks of a file. Blocking. Raises OSError."""
    return _marks(path.stat())


def _marks(facts: os.stat_result) -> Marks:
    return Marks(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def look(path: Path) -> Seen:
    """A file as it is now. Blocking. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        marks = _marks(os.fstat(file.fileno()))
        last = max(0, marks.size - SAMPLE_BYTES)
        for number in range(SAMPLES):
            digest.update(os.pread(file.fileno(), SAMPLE_BYTES, last * number // (SAMPLES - 1)))
    return Seen(marks, digest.hexdigest())


def check_unchanged(path: Path, seen: Seen) -> None:
    """Pass, if it is as it was seen. Another name of it, or other rights, are no other film. Blocking. Raises TaskFailedError, class `input`."""
    try:
        found = look(path)
    except OSError as error:
        raise changed(f"it is gone ({error.strerror})") from error
    now, before = found.marks, seen.marks
    if now.size != before.size:
        raise changed(f"it had {before.size} bytes and has {now.size}")
    if now.inode != before.inode:
        raise changed("another one lies in its place")
    if now.modified_ns != before.modified_ns or found.samples != seen.samples:
        raise changed("it was written to")


def changed(how: str) -> TaskFailedError:
    """The failure of an attempt whose input is another one by now."""
    return TaskFailedError(
        FailureClass.INPUT,
        f"cannot take what was made: the input changed while it was read, {how}; submit the job again when nothing writes to it any more",
    )


async def identify(path: Path, told: Identity | None = None, *, is_ours: bool = False) -> Source | None:
    """Read all of a file, unless it is the one that somebody was `told` of who read it; None where it changed meanwhile. Raises OSError.
    A cancelled one reads no further.
    """
    marks = await asyncio.to_thread(marks_of, path)
    if told is not None and (marks.are_those_of(told.marks) or (is_ours and marks.is_file_of(told.marks))):
        return Source(path, Identity(marks, told.sha256), is_ours)
    await asyncio.sleep(marks.settled_in_s(time.time()))
    stopped = threading.Event()
    try:
        found = await finished(lambda: _digest(path, stopped), stopped.set)
    except EOFError:
        return None
    source = Source(path, Identity(marks, found), is_ours)
    return source if await asyncio.to_thread(source.is_unchanged) else None


async def finished(work: Callable[[], T], stop: Callable[[], None] = lambda: None) -> T:
    """What a thread gives. A thread cannot be cancelled: who is, waits for its end, so that nobody cleans up under it."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait((running,))
        raise


def _digest(path: Path, stopped: threading.Event) -> str:
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while data := file.read(_READ_BYTES):
            if stopped.is_set():
                raise EOFError
            found.update(data)
    return found.hexdigest()
