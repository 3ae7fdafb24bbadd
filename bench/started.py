"""A program that is measured: started, heard from, waited for no longer than so many seconds, and ended with all that it started."""

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

_MARK = "MILLRACE_BENCH_MARK"
_END_S = 10.0
_LOOK_S = 0.005

Program = subprocess.Popen[bytes]


class NotWithinError(Exception):
    """Something was waited for, and did not come in time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"not within {timeout_s:.0f} s")


class Births:
    """A pipe into which every child writes its pid when it is there."""

    def __init__(self, path: Path) -> None:
        """Make it."""
        os.mkfifo(path)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""

    def next(self, timeout_s: float) -> list[str]:
        """The words that have come; none when the time is up."""
        if not select.select([self._descriptor], [], [], max(0.0, timeout_s))[0]:
            return []
        lines = (self._rest + os.read(self._descriptor, 1 << 16)).split(b"\n")
        self._rest = lines.pop()
        return [line.decode() for line in lines]

    def take(self, count: int, timeout_s: float, first: Callable[[], None] = lambda: None) -> list[str]:
        """So many words; `first` is told of the first of them.

        Raises:
            NotWithinError: they have not all come in time, counted from now.
        """
        words: list[str] = []
        ends_s = time.monotonic() + timeout_s
        while len(words) < count:
            came = self.next(ends_s - time.monotonic())
            if not came:
                raise NotWithinError(timeout_s)
            if not words:
                first()
            words += came
        return words

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


@contextlib.contextmanager
def running(command: list[str], folder: Path) -> Iterator[Program]:
    """Run it; in the end it and whatever it has started is killed, also what has left its tree."""
    mark = str(folder)  # of this start alone, because every start has a folder of its own
    with (folder / "said").open("ab") as said:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
            env={**os.environ, _MARK: mark},
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        _kill_marked(mark)


def until(there: Callable[[], bool], timeout_s: float, look_s: float = _LOOK_S) -> None:
    """Wait until something holds, looking again and again.

    Raises:
        NotWithinError: it did not hold in time.
    """
    ends_s = time.monotonic() + timeout_s
    while not there():
        if time.monotonic() > ends_s:
            raise NotWithinError(timeout_s)
        time.sleep(look_s)


def ended(process: Program, timeout_s: float) -> None:
    """Wait for its end on a descriptor: with a time-out `Popen.wait` looks 0.5, 1.5, 3.5 ... 31.5 and 63.5 ms after its call, and
    whatever ends in between seems to have ended then.

    Raises:
        NotWithinError: it runs for longer.
    """
    if process.poll() is not None:
        return
    descriptor = os.pidfd_open(process.pid)
    try:
        if not select.select([descriptor], [], [], timeout_s)[0]:
            raise NotWithinError(timeout_s)
    finally:
        os.close(descriptor)
    process.wait()


def attempt(step: str, late: dict[str, str], measure: Callable[[], None]) -> None:
    """Measure; what did not come in time, or what the program was gone for, is noted, and the section goes on."""
    try:
        measure()
    except NotWithinError as error:
        late[step] = str(error)
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        late[step] = "it ended early"


def _kill_marked(mark: str) -> None:
    """Again until nothing is left, because what is left may start more. What lives after that is beyond a signal."""
    ends_s = time.monotonic() + _END_S
    while (left := _marked(mark)) and time.monotonic() < ends_s:
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, timeout=0.1)


def _marked(mark: str) -> Sequence[psutil.Process]:
    """What lives and was started inside a block of `running`, by its environment, which all that it starts inherits."""
    return [one for one in psutil.process_iter() if _environment(one).get(_MARK) == mark]


def _environment(process: psutil.Process) -> Mapping[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):  # gone, or somebody else's
        return {}
