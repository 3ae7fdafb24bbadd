"""The last entries of a stream."""

from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from millrace.supervisor.logs.entry import Entry
from millrace.supervisor.logs.run import Run

MAX_CHARS = 1 << 20
"""Of the messages in one ring, besides the number of entries."""

_MESSAGE = attrgetter("message")


class Ring:
    """Keeps the newest up to a number, fewer where they are long, and one in any case."""

    def __init__(self, max_entries: int) -> None:
        """Empty."""
        # In the blocks in which they came: at a busy time, looking at each one again would cost more than keeping it.
        self._blocks: deque[tuple[Sequence[Entry], int]] = deque()
        self._count = 0
        self._chars = 0
        self._max = max_entries

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add, oldest first."""
        entries = entries.last(self._max) if isinstance(entries, Run) else entries[-self._max :]
        chars = _chars_of(entries)
        while chars > MAX_CHARS and len(entries) > 1:
            half = len(entries) // 2
            chars -= _chars_of(entries[:half])
            entries = entries[half:]
        self._blocks.append((entries, chars))
        self._count += len(entries)
        self._chars += chars
        while len(self._blocks) > 1 and (self._count - len(self._blocks[0][0]) >= self._max or self._chars > MAX_CHARS):
            gone, chars = self._blocks.popleft()
            self._count -= len(gone)
            self._chars -= chars

    def entries(self) -> list[Entry]:
        """Oldest first."""
        return [entry for block, _ in self._blocks for entry in block][-self._max :]


def _chars_of(entries: Sequence[Entry]) -> int:
    return len(entries.text) - len(entries) + 1 if isinstance(entries, Run) else sum(map(len, map(_MESSAGE, entries)))
