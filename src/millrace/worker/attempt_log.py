"""The complete log of one attempt: spooled to disk, and streamed to the master in order while the attempt runs.

The disk takes what comes faster than the network, so memory stays bounded. The master's answer names how many bytes it
has, so a repeated or lost request neither doubles nor loses a byte.
"""

import asyncio
import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from millrace.client.errors import ClientError
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger

log = logger("worker")

PIECE_BYTES = 256 << 10
RHYTHM_S = 0.5
"""The least time between two pieces, so that a line does not cost a request."""
LARGEST_BYTES = 256 << 20
"""Beyond that, a log is no use to anybody; what follows is counted and left out."""

Send = Callable[[int, bytes], Awaitable[int]]
"""Sends bytes that begin at an offset; gives how many bytes the master has. Raises ClientError."""


class Diary(ABC):
    """What is said of an attempt, line by line."""

    def __init__(self, clock: Clock) -> None:
        """`clock` stamps the lines."""
        self._clock = clock

    @abstractmethod
    def write(self, text: str) -> None:
        """Append text."""

    def say(self, text: str) -> None:
        """A line of the worker's own, with the wall-clock time."""
        stamp = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        self.write(f"{stamp}Z {text}\n")

    def command(self, label: str, argv: Sequence[str]) -> None:
        """A command line, in a form that can be pasted into a shell."""
        self.say(f"{label}: {shlex.join(argv)}")


class Notes(Diary):
    """What was said before there was an attempt whose log could hold it."""

    text = ""

    def write(self, text: str) -> None:
        """Append text."""
        self.text += text


class AttemptLog(Diary):
    """Written by the attempt, emptied by :meth:`ship`, which runs beside it."""

    def __init__(self, path: Path, *, clock: Clock, largest_bytes: int = LARGEST_BYTES) -> None:
        """Opens the spool. Raises OSError."""
        super().__init__(clock)
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._largest = largest_bytes
        self._size = 0
        self._sent = 0
        self._left_out = 0
        self._more = asyncio.Event()
        self._hurry = asyncio.Event()
        self._through = asyncio.Event()  # everything is sent, or sending was given up
        self._through.set()
        self._given_up = False

    def write(self, text: str) -> None:
        """Append text."""
        data = text.encode(errors="replace")
        if self._size + len(data) > self._largest:
            self._left_out += len(data)
            return
        self._append(data)

    async def ship(self, send: Send) -> None:
        """Send what is there and what comes, until cancelled, or until the master wants no more of it."""
        while not self._given_up:
            await self._more.wait()
            self._more.clear()
            while self._sent < self._size:
                piece = os.pread(self._descriptor, PIECE_BYTES, self._sent)
                try:
                    have = await send(self._sent, piece)
                except ClientError as error:
                    log.warning("worker.log_refused", path=self._path.name, reason=str(error))
                    self._give_up()
                    return
                self._sent = min(have, self._size)
            self._through.set()
            await self._clock.wait_event(self._hurry, RHYTHM_S)

    async def flush(self) -> None:
        """Return when the master has all of it, or has refused it. Needs :meth:`ship` to run."""
        if self._left_out:
            self._append(f"... {self._left_out} more bytes are left out: the log is too long\n".encode())
            self._left_out = 0
        self._hurry.set()
        await self._through.wait()
        self._hurry.clear()

    def close(self) -> None:
        """Close the spool; whoever owns its folder removes it."""
        self._give_up()
        os.close(self._descriptor)

    def _append(self, data: bytes) -> None:
        try:
            self._size += os.write(self._descriptor, data)
        except OSError as error:
            # A full disk fails the attempt where it writes its media; the log must not hide that by failing first.
            self._left_out += len(data)
            log.warning("worker.log_not_written", path=self._path.name, reason=error.strerror)
            return
        if not self._given_up:
            self._through.clear()
            self._more.set()

    def _give_up(self) -> None:
        self._given_up = True
        self._through.set()
