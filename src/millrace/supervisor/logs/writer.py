"""Write without ever waiting: a thread of its own does, and what it cannot keep up with is counted."""

import errno
import os
import select
import signal
import stat
from collections import deque
from collections.abc import Callable
from threading import Condition, Event, Thread
from typing import Protocol

from millrace.telemetry.logs import logger

log = logger("supervisor")

MAX_BYTES = 8 * 1024 * 1024
"""What may wait for one target."""
GATHER_S = 0.01
"""After a write the thread rests for so long, and takes what came meanwhile at once: to wake it costs as much as ten lines, and
holds up the event loop, which has to hand it the interpreter."""
_PIECE_BYTES = 256 * 1024
_FINAL = frozenset({errno.EPIPE, errno.EBADF})


class Target(Protocol):
    """Where bytes go. Only the thread of its writer uses it."""

    def write(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            CannotWrite: not all of it was written.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...

    @property
    def is_file(self) -> bool:
        """Whether a disk takes it, so that waiting a moment helps; a reader may be as slow as it likes."""
        ...


class CannotWrite(Exception):  # noqa: N818  the message begins with these words
    """`written` bytes were written. `final`: no other write can work."""

    def __init__(self, error: OSError, written: int, *, final: bool = False) -> None:
        super().__init__(f"cannot write: {error.strerror or error}")
        self.written = written
        self.final = final


class Descriptor:
    """An open file descriptor that is not ours to close or to change, such as stdout."""

    def __init__(self, number: int) -> None:
        """It may be blocking or not."""
        self._number = number

    def write(self, data: bytes) -> None:
        """Write all of it, however long the other side takes."""
        view, written = memoryview(data), 0
        while written < len(view):
            try:
                written += os.write(self._number, view[written : written + _PIECE_BYTES])
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._number, select.POLLOUT)
                poll.poll(1000)
            except OSError as error:
                # Nobody reads, or nothing is open: this does not pass. A full disk may.
                raise CannotWrite(error, written, final=error.errno in _FINAL) from error

    def close(self) -> None:
        """It stays open."""

    @property
    def is_file(self) -> bool:
        """As it was opened."""
        try:
            return stat.S_ISREG(os.fstat(self._number).st_mode)
        except OSError:
            return False


class Writer:
    """Hands bytes to a target from a thread. Takes up to `max_bytes`, drops the newest lines, and says how many."""

    def __init__(
        self, target: Target, *, name: str, lost: Callable[[int], bytes], max_bytes: int = MAX_BYTES, told: bool = True
    ) -> None:
        """`lost` makes the line that says how many are missing. `told`: a target that fails is told to the log, once."""
        self.dropped = 0
        """Lines that were lost since the start."""
        self._target = target
        self._name = name
        self._lost = lost
        self._max = max_bytes
        self._told = told
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._size = 0
        self._missing = 0  # lines that were dropped and not spoken of yet
        self._jammed = False
        self._torn = False
        self._dead = False
        self._stuck = not target.is_file  # nobody waits for a reader
        self._closed = False
        self._over = False
        self._waits_for_end: list[Callable[[], None]] = []
        self._change = Condition()
        self._closing = Event()
        self._thread = Thread(target=self._run, name=f"writes {name}", daemon=True)
        self._thread.start()

    def give(self, data: bytes, lines: int) -> None:
        """Write `data`, which are so many whole lines, when it is its turn. Never waits."""
        with self._change:
            # Once lines were lost, half of the room has to be free again, or every second line would be a report.
            self._jammed = self._size + len(data) > (self._max // 2 if self._jammed else self._max)
            if self._jammed or self._dead or self._closed:
                self._drop(lines)
                return
            self._speak()
            self._put(data, lines)

    @property
    def behind(self) -> bool:
        """Whether half of its room is taken, and waiting a moment would help."""
        return self._size > self._max // 2 and not (self._stuck or self._dead or self._closed)

    def give_up(self) -> None:
        """It was waited for in vain: it is not `behind` again before it has written something."""
        self._stuck = True

    def begin_close(self, ended: Callable[[], None] = lambda: None) -> None:
        """Take nothing more. `ended` is called when everything is written, mostly from the thread."""
        with self._change:
            if not self._closed:
                self._speak()
            self._closed = True
            self._closing.set()
            self._change.notify()
            if not self._over:
                self._waits_for_end.append(ended)
                return
        ended()

    def close(self, patience_s: float) -> None:
        """Return when everything is written, or after `patience_s` seconds without it. Waits; not for the event loop."""
        self.begin_close()
        self._thread.join(patience_s)

    def _speak(self) -> None:
        if self._missing and not self._dead:
            count, self._missing = self._missing, 0
            self._put(self._lost(count), -count)

    def _put(self, data: bytes, lines: int) -> None:
        """Negative `lines`: a report of so many."""
        self._waiting.append((data, lines))
        self._size += len(data)
        self._change.notify()

    def _drop(self, lines: int) -> None:
        self._missing += lines
        self.dropped += lines

    def _run(self) -> None:
        # In the background of a terminal that stops who writes (`stty tostop`), writing goes on. In this thread alone, since
        # a child inherits what the main thread blocks.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        is_file = self._target.is_file
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    break
                chunks = tuple(self._waiting)
                self._waiting.clear()
            try:
                self._write(chunks)
            finally:
                with self._change:
                    self._size -= sum(len(data) for data, _ in chunks)
                    self._stuck = not is_file
                    crowded = self._size > self._max // 4
            if not crowded:
                self._closing.wait(GATHER_S)
        self._target.close()
        with self._change:
            self._over = True
        for ended in self._waits_for_end:
            ended()

    def _write(self, chunks: tuple[tuple[bytes, int], ...]) -> None:
        data = b"".join(data for data, _ in chunks)
        start = b"\n" if self._torn else b""
        try:
            self._target.write(start + data)
        except CannotWrite as error:
            self._fail(error, chunks, max(0, error.written - len(start)), data)
        else:
            self._torn = False

    def _fail(self, error: CannotWrite, chunks: tuple[tuple[bytes, int], ...], written: int, data: bytes) -> None:
        if error.written:
            self._torn = bool(written) and data[written - 1 : written] != b"\n"
        with self._change:
            end = 0
            for chunk, lines in chunks:
                end += len(chunk)
                if end <= written:
                    continue
                if lines < 0:
                    self._missing -= lines  # the report has to be made again
                else:
                    done = chunk[: max(0, len(chunk) - (end - written))].count(b"\n")
                    self._drop(max(0, lines - done))
            self._dead = self._dead or error.final
            tell, self._told = self._told, False
        if tell:
            log.warning("supervisor.output_lost", target=self._name, error=str(error), lines=self.dropped)
