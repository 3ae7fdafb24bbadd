"""Download with resumption: bytes come from a source that can begin anywhere, and go to a file."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.runtime.backoff import Backoff
from millrace.runtime.clock import Clock
from millrace.worker.disk import check_room
from millrace.worker.failure import HandBackError, TaskFailedError, from_os_error
from millrace.worker.fetch import Fetching, shown

BACKOFF = Backoff(base_s=0.5, cap_s=15.0)
ROOM_EVERY = 16 << 20
"""Bytes between two looks at the room that is left."""


class BrokenOffError(Exception):
    """The source broke off; the message says how. What came before counts, and it may be asked again."""


class Opened(Struct, frozen=True, kw_only=True):
    """A source opened: bytes from `offset` (0 where it cannot begin elsewhere), `total` in all where it says so."""

    offset: int
    total: int | None
    pieces: AsyncIterator[bytes]


Source = Callable[[int], AbstractAsyncContextManager[Opened]]
"""Opens at an offset. Raises BrokenOffError, or TaskFailedError for what another try does not mend."""


async def download(fetching: Fetching, source: Source, *, clock: Clock, draw: Callable[[], float]) -> None:
    """Fill the target file.

    Raises:
        TaskFailedError: class `network` where the source broke off too often or was too slow, `input` where it is too
            long, `disk` where it could not be written.
        HandBackError: there is no room for it.
    """
    try:
        await clock.wait_for(_repeat(fetching, source, clock, draw), fetching.limits.deadline_s)
    except TimeoutError:
        raise TaskFailedError(
            FailureClass.NETWORK,
            f"cannot fetch {shown(fetching.location)}: it took longer than {fetching.limits.deadline_s:g} s",
        ) from None
    except OSError as error:
        raise from_os_error(error, f"fetch {shown(fetching.location)}") from error


async def _repeat(fetching: Fetching, source: Source, clock: Clock, draw: Callable[[], float]) -> None:
    have, failures = 0, 0
    with fetching.target.open("wb") as file:
        while True:
            before = have
            try:
                async with source(have) as opened:
                    have = await _pour(fetching, opened, file.fileno(), _Pace(fetching, clock))
                    if opened.total is None or have >= opened.total:
                        return
                    reason = f"the connection ended after {have} of {opened.total} bytes"
            except BrokenOffError as error:
                have = os.lseek(file.fileno(), 0, os.SEEK_END)
                reason = str(error)
            failures = 1 if have > before else failures + 1
            if failures >= fetching.limits.tries:
                raise TaskFailedError(
                    FailureClass.NETWORK, f"cannot fetch {shown(fetching.location)}: {reason}; tried {failures} times"
                )
            await clock.sleep(BACKOFF.wait_s(failures, draw))


class _Pace:
    """Tells a source that only drips from one that is slow. Counts the time in which it was waited for, and no other: tasks are
    paused, and disks may be slow, too.
    """

    def __init__(self, fetching: Fetching, clock: Clock) -> None:
        self._fetching = fetching
        self._monotonic = clock.monotonic
        self._asked_s = self._monotonic()
        self._waited_s = 0.0
        self._taken = 0

    def ask(self) -> None:
        """The next piece is asked for now."""
        self._asked_s = self._monotonic()

    def take(self, size: int) -> None:
        """It came. Raises TaskFailedError."""
        limits = self._fetching.limits
        self._waited_s += self._monotonic() - self._asked_s
        self._taken += size
        if self._waited_s < limits.span_s:
            return
        if self._taken < limits.least_bytes:
            raise TaskFailedError(
                FailureClass.NETWORK,
                f"cannot fetch {shown(self._fetching.location)}: in {self._waited_s:.0f} s there came {self._taken} bytes of it, "
                f"and it takes {limits.least_bytes} to be worth the wait",
            )
        self._waited_s, self._taken = 0.0, 0


async def _pour(fetching: Fetching, opened: Opened, descriptor: int, pace: _Pace) -> int:
    """Append what comes until its end; the length of the file then."""
    have = opened.offset
    os.ftruncate(descriptor, have)
    os.lseek(descriptor, have, os.SEEK_SET)
    _check(fetching, opened.total or 0, to_come=max(0, (opened.total or 0) - have))
    pace.ask()
    async for piece in opened.pieces:
        pace.take(len(piece))
        await fetching.control.gate()
        before, have = have, have + len(piece)
        _check(fetching, have, to_come=0)
        if opened.total is None and before // ROOM_EVERY != have // ROOM_EVERY:
            _check_room_left(fetching)
        # Off the event loop: a slow disk must not hold up everything else.
        await asyncio.to_thread(_write, descriptor, piece)
        fetching.told(have, opened.total)
        pace.ask()
    return have


def _check_room_left(fetching: Fetching) -> None:
    """What does not say how long it is may have no end, so it spends an attempt where a film would be handed back."""
    try:
        check_room(fetching.target.parent, at_least_bytes=fetching.limits.keep_free_bytes)
    except HandBackError as error:
        raise TaskFailedError(
            FailureClass.DISK,
            f"cannot fetch {shown(fetching.location)}: it does not say how long it is, and {error.reason}",
        ) from None


def _check(fetching: Fetching, size: int, *, to_come: int) -> None:
    limits = fetching.limits
    if size > limits.largest_bytes:
        raise TaskFailedError(
            FailureClass.INPUT,
            f"cannot fetch {shown(fetching.location)}: it is longer than {limits.largest_bytes / 1e9:,.1f} GB",
        )
    if to_come:
        check_room(fetching.target.parent, at_least_bytes=limits.keep_free_bytes, needed_bytes=to_come)


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
