"""Download with resumption: bytes come from a source that can begin anywhere, and go to a file."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.domain.media.byte_ranges import Bundle, Ranges, Span
from millrace.runtime.backoff import Backoff
from millrace.runtime.clock import Clock
from millrace.worker.disk import check_room
from millrace.worker.failure import HandBackError, TaskFailedError, from_os_error
from millrace.worker.fetch import Fetching, NoRangesError, shown

BACKOFF = Backoff(base_s=0.5, cap_s=15.0)
AT_ONCE = 4
"""Bundles of a file that are fetched side by side."""
READ_BYTES = 1 << 20
ROOM_EVERY = 16 << 20
"""Bytes between two looks at the room that is left."""


class BrokenOffError(Exception):
    """The source broke off; the message says how. What came before counts, and it may be asked again."""


class Opened(Struct, frozen=True, kw_only=True):
    """A source opened: bytes from `offset` (0 where it cannot begin elsewhere), `total` in all where it says so."""

    offset: int
    total: int | None
    pieces: AsyncIterator[bytes]


Source = Callable[[int, int | None], AbstractAsyncContextManager[Opened]]
"""Opens at an offset, to the end or to another offset. Raises BrokenOffError, or TaskFailedError for what another try does not mend."""


def range_header(offset: int, end: int | None) -> str:
    """What a request says that wants these bytes (RFC 9110, 14.2); empty where it wants all."""
    return f"bytes={offset}-{'' if end is None else end - 1}" if offset or end is not None else ""


async def download(fetching: Fetching, source: Source, *, clock: Clock, draw: Callable[[], float]) -> None:
    """Fill the target file, wholly or in the ranges that are wanted of it; elsewhere it has holes then.

    Raises:
        NoRangesError: ranges are wanted, and cannot be had.
        TaskFailedError: class `network` where the source broke off too often or was too slow, `input` where it is too
            long, `disk` where it could not be written.
        HandBackError: there is no room for it.
    """
    try:
        filling = _Filling(fetching, source, clock, draw)
        work = filling.whole() if fetching.ranges is None else filling.parts(fetching.ranges)
        await clock.wait_for(work, fetching.limits.deadline_s)
    except TimeoutError:
        raise TaskFailedError(
            FailureClass.NETWORK,
            f"cannot fetch {shown(fetching.location)}: it took longer than {fetching.limits.deadline_s:g} s",
        ) from None
    except OSError as error:
        raise from_os_error(error, f"fetch {shown(fetching.location)}") from error


class _Filling:
    """One fetch on its way to its file."""

    def __init__(self, fetching: Fetching, source: Source, clock: Clock, draw: Callable[[], float]) -> None:
        self._fetching = fetching
        self._source = source
        self._clock = clock
        self._draw = draw
        self._came = 0

    async def whole(self) -> None:
        """All of it, in order."""
        with self._fetching.target.open("wb") as file:
            await self._fill(_Run(file.fileno()))

    async def parts(self, ranges: Ranges) -> None:
        """Only these ranges, a few at a time, each bundle compared with its digest."""
        fetching, turns = self._fetching, asyncio.Semaphore(AT_ONCE)
        _check(fetching, ranges.size, to_come=0)
        _check(fetching, ranges.needed, to_come=ranges.needed)
        with fetching.target.open("w+b") as file:
            os.ftruncate(file.fileno(), ranges.size)

            async def one(bundle: Bundle) -> None:
                async with turns:
                    await self._bundle(file.fileno(), bundle, ranges)

            tasks = [asyncio.ensure_future(one(bundle)) for bundle in ranges.bundles]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                if tasks:
                    await asyncio.wait(tasks)

    async def _bundle(self, descriptor: int, bundle: Bundle, ranges: Ranges) -> None:
        for _ in range(2):  # once more: what came may have been changed on its way
            for begin, end in bundle.spans:
                await self._fill(_Run(descriptor, begin, end, size=ranges.size))
            if not bundle.sha256 or await asyncio.to_thread(span_digest, descriptor, bundle.spans) == bundle.sha256:
                return
        raise TaskFailedError(
            FailureClass.INPUT,
            f"cannot use {shown(self._fetching.location)}: its bytes from {bundle.spans[0][0]} on are not those that it had when the "
            "film was divided; it must not change while it is read",
        )

    async def _fill(self, run: "_Run") -> None:
        """One run of bytes, however often the source breaks off."""
        fetching, failures = self._fetching, 0
        while True:
            before = run.have
            try:
                async with self._source(run.have, run.end) as opened:
                    await self._pour(opened, run)
                    if run.is_whole(opened.total):
                        return
                    reason = f"the connection ended after {run.have} of {run.end or opened.total} bytes"
            except BrokenOffError as error:
                reason = str(error)
            failures = 1 if run.have > before else failures + 1
            if failures >= fetching.limits.tries:
                raise TaskFailedError(
                    FailureClass.NETWORK, f"cannot fetch {shown(fetching.location)}: {reason}; tried {failures} times"
                )
            await self._clock.sleep(BACKOFF.wait_s(failures, self._draw))

    async def _pour(self, opened: Opened, run: "_Run") -> None:
        """Write what comes until its end, or that of the run."""
        fetching, pace = self._fetching, _Pace(self._fetching, self._clock)
        run.begin_at(opened, fetching)
        if run.end is None:
            _check(fetching, opened.total or 0, to_come=max(0, (opened.total or 0) - run.have))
        pace.ask()
        async for each in opened.pieces:
            pace.take(len(each))
            await fetching.control.gate()
            piece = each if run.end is None else each[: run.end - run.have]
            before, place = run.have, run.have
            have = before + len(piece)
            _check(fetching, have, to_come=0)
            if opened.total is None and run.end is None and before // ROOM_EVERY != have // ROOM_EVERY:
                _check_room_left(fetching)
            await _written(run.descriptor, piece, place)
            run.have = have
            self._came += len(piece)
            fetching.told(*((have, opened.total) if fetching.ranges is None else (self._came, fetching.ranges.needed)))
            if len(piece) < len(each):
                return
            pace.ask()


class _Run:
    """A run of bytes of one file, from `have` on; to `end`, or to the end of the file."""

    def __init__(self, descriptor: int, begin: int = 0, end: int | None = None, *, size: int | None = None) -> None:
        self.descriptor = descriptor
        self.have = begin
        self.end = end
        self._size = size

    def is_whole(self, total: int | None) -> bool:
        return self.have >= self.end if self.end is not None else total is None or self.have >= total

    def begin_at(self, opened: Opened, fetching: Fetching) -> None:
        """Begin where the source does. Raises NoRangesError, or TaskFailedError for a file of another length."""
        if self.end is None:
            self.have = opened.offset
            os.ftruncate(self.descriptor, self.have)
            return
        if self._size is not None and opened.total not in (None, self._size):
            raise TaskFailedError(
                FailureClass.INPUT,
                f"cannot use {shown(fetching.location)}: it has {opened.total} bytes, and had {self._size} when the film was "
                "divided; it must not change while it is read",
            )
        if opened.offset != self.have:
            raise NoRangesError


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


async def _written(descriptor: int, piece: bytes, place: int) -> None:
    """Write it off the event loop: a slow disk must not hold up everything else. A thread cannot be cancelled, so its end is waited for:
    once the file is closed, its descriptor may be that of another.
    """
    writing = asyncio.ensure_future(asyncio.to_thread(_write, descriptor, piece, place))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait((writing,))
        raise


def _write(descriptor: int, piece: bytes, place: int) -> None:
    view = memoryview(piece)
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written


def span_digest(descriptor: int, spans: Sequence[Span]) -> str:
    """The SHA-256 of some spans of a file, one after the other. Blocking. Raises OSError."""
    found = hashlib.sha256()
    for begin, end in spans:
        place = begin
        while place < end and (piece := os.pread(descriptor, min(end - place, READ_BYTES), place)):
            found.update(piece)
            place += len(piece)
    return found.hexdigest()
