"""What a child says: bytes into lines, the last of them kept, all of them handed to a sink that may be slow.

Reading waits for the sink for PAUSE_S at the most, and only for one that fetched something since: a burst is not lost then, and
a child is not blocked by whoever looks at it. Memory is bounded everywhere.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Sequence

from millrace.process.block import Block, Lines, any_transient, chars_of
from millrace.process.values import Batch, Line, Sink, Stream
from millrace.telemetry.logs import logger

log = logger("process")

CHUNK_BYTES = 64 * 1024  # the capacity of a pipe on Linux (pipe(7))
PAUSE_S = 0.09
_CATCH_UP = 16  # chunks, 1 MiB: the writer may still be writing
_ENDS = re.compile(rb"\r\n|\n|\r")
_LINE_CHARS = 64  # an empty line occupies memory too


class Splitter:
    r"""Cuts a stream of bytes into lines at \n, \r\n and \r, wherever the chunks end."""

    def __init__(self, stream: Stream, max_line_bytes: int) -> None:
        """Lines longer than `max_line_bytes` come out in pieces."""
        self._stream = stream
        self._max = max_line_bytes
        self._rest = b""

    def feed(self, chunk: bytes) -> Sequence[Line]:
        r"""The lines that are complete now. A \r at the very end waits, because a \n may follow."""
        data = self._rest + chunk
        lines = self._plain(data)
        return list(self._any(data)) if lines is None else lines

    def _plain(self, data: bytes) -> Sequence[Line] | None:
        r"""The same for what most programs print, a whole chunk at a time: \n alone ends a line, and none is too long."""
        if b"\r" in data:
            return None
        whole, end, rest = data.rpartition(b"\n")
        if len(rest) > self._max or self._any_too_long(whole):
            return None
        self._rest = rest
        # A \n never stands inside a UTF-8 character, also not a broken one, so it does not matter what comes first.
        return Block(self._stream, _text(whole)) if end else []

    def _any_too_long(self, whole: bytes) -> bool:
        start = 0
        while len(whole) - start > self._max:
            # The last end within reach; what it passes over is shorter.
            end = whole.rfind(b"\n", start, start + self._max + 1)
            if end < 0:
                return True
            start = end + 1
        return False

    def _any(self, data: bytes) -> Iterator[Line]:
        start = 0
        for end in _ENDS.finditer(data):
            if end.end() == len(data) and data.endswith(b"\r"):
                break
            yield from self._line(data[start : end.start()], transient=end.group() == b"\r")
            start = end.end()
        self._rest = data[start:]
        while len(self._rest) > self._max:
            piece, self._rest = self._cut(self._rest)
            yield Line(self._stream, _text(piece), partial=True)

    def finish(self) -> Iterator[Line]:
        """What stood after the last end of line."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._line(rest.removesuffix(b"\r"), transient=rest.endswith(b"\r"))

    def _line(self, data: bytes, *, transient: bool) -> Iterator[Line]:
        while len(data) > self._max:
            piece, data = self._cut(data)
            yield Line(self._stream, _text(piece), partial=True)
        yield Line(self._stream, _text(data), transient=transient)

    def _cut(self, data: bytes) -> tuple[bytes, bytes]:
        """Cut at the limit, up to three bytes earlier so as not to tear a UTF-8 character."""
        at = self._max
        while at > self._max - 3 and at > 1 and data[at] & 0xC0 == 0x80:
            at -= 1
        return data[:at], data[at:]


class Tail:
    """The last lines within a number of lines and of characters, as a terminal would show them."""

    def __init__(self, max_lines: int, max_chars: int) -> None:
        """Both limits hold at once."""
        self._lines: list[Line] = []  # a deque takes most of a kilobyte from the first, and many children say nothing
        self._chars = 0
        # What came after those and was not looked at yet: of all that a busy child prints, only the end ever is.
        self._blocks: list[Block] = []
        self._block_lines = 0
        self._block_chars = 0
        self._max_lines = max_lines
        self._max_chars = max_chars

    def add(self, line: Line) -> None:
        """Append; a transient line before it, of the same stream, is overwritten."""
        self.extend((line,))

    def extend(self, lines: Sequence[Line]) -> None:
        """Append each; of many, only those at the end are looked at."""
        if isinstance(lines, Block):
            self._append(lines)
            return
        self._look()
        if len(lines) > self._max_lines and not any_transient(lines):
            self._clear()
            lines = lines[-self._max_lines :]
        for line in lines:
            self._add(line)

    def lines(self) -> tuple[Line, ...]:
        """Oldest first."""
        self._look()
        return tuple(self._lines)

    def _add(self, line: Line) -> None:
        if self._lines and self._lines[-1].transient and self._lines[-1].stream == line.stream:
            self._chars -= len(self._lines.pop().text)
        self._lines.append(line)
        self._chars += len(line.text)
        while len(self._lines) > self._max_lines or self._chars > self._max_chars:
            self._chars -= len(self._lines.pop(0).text)

    def _append(self, block: Block) -> None:
        """Keep it, and none before it that those after it push out anyway."""
        self._blocks.append(block)
        self._block_lines += len(block)
        self._block_chars += chars_of(block)
        while len(self._blocks) > 1 and self._is_full_without(self._blocks[0]):
            self._clear()
            gone = self._blocks.pop(0)
            self._block_lines -= len(gone)
            self._block_chars -= chars_of(gone)

    def _is_full_without(self, block: Block) -> bool:
        return (
            self._block_lines - len(block) >= self._max_lines or self._block_chars - chars_of(block) > self._max_chars
        )

    def _look(self) -> None:
        for block in self._blocks:
            for line in block:
                self._add(line)
        self._blocks.clear()
        self._block_lines = self._block_chars = 0

    def _clear(self) -> None:
        self._lines.clear()
        self._chars = 0


class Outlet:
    """Hands lines to the sink in batches, from a buffer that drops the newest lines, and counts them, when it is full."""

    def __init__(self, sink: Sink, max_chars: int) -> None:
        """Must be made inside a running loop. `max_chars` bounds what waits for the sink."""
        self._sink = sink
        self._max_chars = max_chars
        self._lines = Lines()
        self._chars = 0
        self._dropped = 0
        self._closed = False
        self._failed = False
        self._relieved: list[Callable[[], None]] = []
        # From the first line on: many children never say anything.
        self._wake: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    def add(self, line: Line) -> None:
        """Keep the line for the sink; never waits."""
        self.extend((line,))

    def extend(self, lines: Sequence[Line]) -> None:
        """Keep the lines for the sink, as many as there is room for; never waits."""
        size = chars_of(lines) + _LINE_CHARS * len(lines)
        # After the first loss nothing is taken until the sink has fetched its batch, so that a batch has no holes.
        if not self._dropped and self._chars + size <= self._max_chars:
            self._lines.append(lines)
            self._chars += size
        else:
            self._squeeze(lines)
        if self._wake is None:
            self._wake = asyncio.Event()
            self._task = asyncio.create_task(self._deliver(self._wake), name="child output")
        self._wake.set()

    def _squeeze(self, lines: Sequence[Line]) -> None:
        taken = []
        for line in lines:
            size = len(line.text) + _LINE_CHARS
            if self._dropped or self._chars + size > self._max_chars:
                self._dropped += 1
            else:
                taken.append(line)
                self._chars += size
        if taken:
            self._lines.append(taken)

    @property
    def crowded(self) -> bool:
        """Whether half of its room is taken."""
        return self._chars > self._max_chars // 2

    def relieved(self, call: Callable[[], None]) -> None:
        """Call this once, when the sink has fetched what waits."""
        self._relieved.append(call)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to close, as nothing was ever said."""
        return self._task is None

    async def close(self) -> None:
        """Return when the sink has everything. Cancelled: it gets no more."""
        self._closed = True
        if self._wake is None or self._task is None:
            return
        self._wake.set()
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            self._task.cancel()
            raise

    async def _deliver(self, wake: asyncio.Event) -> None:
        lost = 0  # lines that are missing before the next batch
        while True:
            if not (self._lines or self._dropped):
                if self._closed:
                    break
                wake.clear()
                await wake.wait()
                continue
            batch = Batch(self._lines, lost)
            lost, self._dropped = self._dropped, 0
            self._lines, self._chars = Lines(), 0
            calls, self._relieved = self._relieved, []
            for call in calls:
                call()
            if not await self._hand_over(batch):
                lost += batch.dropped + len(batch.lines)
        await self._hand_over(Batch((), lost))

    async def _hand_over(self, batch: Batch) -> bool:
        if not (batch.lines or batch.dropped):
            return True
        try:
            await self._sink(batch)
        except Exception as error:  # noqa: BLE001  a broken sink must not disturb the child
            if not self._failed:
                log.warning("process.sink_failed", error=repr(error))
            self._failed = True
            return False
        return True


class Reader:
    """Reads one pipe to its end on the event loop and gives each line to the tail and the outlet."""

    def __init__(self, descriptor: int, splitter: Splitter, tail: Tail, outlet: Outlet | None) -> None:
        """Takes the descriptor over."""
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._splitter = splitter
        self._tail = tail
        self._outlet = outlet
        self.ended = False
        self._waited_for: asyncio.Event | None = None
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._waits = False  # for the sink, or waited for it in vain
        self._loop.add_reader(descriptor, self._readable)

    async def wait(self) -> None:
        """Return when the pipe has ended."""
        if not self.ended:
            self._waited_for = self._waited_for or asyncio.Event()
            await self._waited_for.wait()

    def catch_up(self) -> None:
        """Take what lies in the pipe now, unless the sink has to catch up first."""
        for _ in range(_CATCH_UP):
            if self.ended or self._waits or not self._readable():
                break

    def close(self) -> None:
        """Take what lies in the pipe now, and read no more; for pipes that a lost process keeps open."""
        for _ in range(_CATCH_UP):
            if self.ended or not self._readable():
                break
        self._end()

    def _readable(self) -> bool:
        try:
            chunk = os.read(self._descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        self._give(self._splitter.feed(chunk))
        if not chunk:
            self._end()
        elif self._outlet is not None and self._outlet.crowded and not self._waits:
            # A burst stays in the pipe for a moment rather than be lost; who prints is never held up for longer.
            self._waits = True
            self._outlet.relieved(self._relieved)
            self._loop.remove_reader(self._descriptor)
            self._pause = self._loop.call_later(PAUSE_S, self._go_on)
        return bool(chunk)

    def _relieved(self) -> None:
        self._waits = False
        self._go_on()

    def _go_on(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            if not self.ended:
                self._loop.add_reader(self._descriptor, self._readable)

    def _end(self) -> None:
        if self.ended:
            return
        self._loop.remove_reader(self._descriptor)
        if self._pause is not None:
            self._pause.cancel()
        os.close(self._descriptor)
        self._give(list(self._splitter.finish()))
        self.ended = True
        if self._waited_for is not None:
            self._waited_for.set()

    def _give(self, lines: Sequence[Line]) -> None:
        if not lines:
            return
        self._tail.extend(lines)
        if self._outlet is not None:
            self._outlet.extend(lines)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
