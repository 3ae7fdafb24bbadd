"""Whole lines from the pieces in which very long ones come."""

from collections.abc import Sequence
from operator import attrgetter

from millrace.process.values import Line

MAX_CHARS = 64 * 1024
"""Of a line, and of an entry; what is longer is cut, because half a secret cannot be recognised in what would follow."""

_PARTIAL = attrgetter("partial")
_TEXT = attrgetter("text")


class Pieces:
    """Puts the lines of one stream together again."""

    def __init__(self) -> None:
        """Nothing is waiting."""
        self._parts: list[str] = []
        self._chars = 0
        self._torn = False

    @property
    def idle(self) -> bool:
        """Whether the next line is a line of its own, and shown."""
        return not self._parts and not self._torn

    def feed(self, lines: Sequence[Line]) -> list[str]:
        """The texts of the lines that are whole now."""
        if self.idle and not any(map(_PARTIAL, lines)):
            return list(map(_TEXT, lines))
        found = []
        for line in lines:
            if self._chars < MAX_CHARS:
                self._parts.append(line.text[: MAX_CHARS - self._chars])
            self._chars += len(line.text)
            if not line.partial:
                found += self.flush()
                self._torn = False
        return found

    def lost(self) -> list[str]:
        """Lines are missing from here on; what may be the rest of a torn one is not shown, for it could be half a secret."""
        torn = bool(self._parts) or self._torn
        found = self.flush()
        self._torn = torn
        return found

    def flush(self) -> list[str]:
        """What is there, at the end of the stream."""
        if not self._parts:
            return []
        text, cut = "".join(self._parts), self._chars - MAX_CHARS
        self._parts.clear()
        self._chars = 0
        if self._torn:
            return []
        return [text + cut_note(cut) if cut > 0 else text]


def cut_note(count: int) -> str:
    """Says that `count` characters are missing."""
    return f" [{count} more characters were cut]"
