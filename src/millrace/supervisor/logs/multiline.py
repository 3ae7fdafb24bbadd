"""Lines that belong together: a stack trace is one entry."""

from collections.abc import Sequence

from millrace.supervisor.logs.pieces import MAX_CHARS, cut_note
from millrace.supervisor.logs.settings import Multiline


class Joiner:
    """A line that matches the start pattern begins an entry, and so does the first line of all."""

    def __init__(self, rule: Multiline) -> None:
        """Nothing is waiting."""
        self._rule = rule
        self._lines: list[str] = []
        self._chars = 0
        self._cut = 0
        self.due_s: float | None = None
        """When what waits is due, by the monotonic clock."""

    def feed(self, texts: Sequence[str], now_s: float) -> list[str]:
        """The entries that are complete now; the last stays until something ends it."""
        found: list[str] = []
        for text in texts:
            if self._lines and (len(self._lines) >= self._rule.max_lines or self._rule.start.search(text)):
                found += self.flush()
            self._add(text)
        if self._lines and texts:
            self.due_s = now_s + self._rule.timeout_s
        return found

    def tick(self, now_s: float) -> list[str]:
        """What has waited for long enough."""
        return self.flush() if self.due_s is not None and now_s >= self.due_s else []

    def flush(self) -> list[str]:
        """What waits."""
        if not self._lines:
            return []
        text = "\n".join(self._lines) + (cut_note(self._cut) if self._cut else "")
        self._lines.clear()
        self._chars = self._cut = 0
        self.due_s = None
        return [text]

    def _add(self, text: str) -> None:
        room = max(0, MAX_CHARS - self._chars)
        self._cut += max(0, len(text) - room)
        # Also a line that is cut away counts, or `max_lines` would never end the entry.
        self._lines.append(text[:room])
        self._chars += len(text[:room])
