"""The last lines of a log: which of them are shown, and where the words stand that are looked for. Pure."""

from collections import deque
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from millrace.tui.words import plain
from millrace.wire.v1.supervise import LineView

KEPT = 5000
LONGEST = 4096
"""Characters of a line; the rest is not shown."""
LEVELS = ("debug", "info", "warn", "error")


class Shown(Struct, frozen=True):
    """One line on the screen. `level` is empty for what we say ourselves."""

    text: str
    level: str = ""


def note(text: str) -> Shown:
    """Something that we say ourselves, beside what was printed."""
    return Shown(f"--- {text} ---")


class Tail:
    """Keeps the last lines; `shown` are those that are serious enough."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self.least = LEVELS[0]
        self.words = ""
        self._kept: deque[Shown] = deque(maxlen=KEPT)
        self.shown: list[Shown] = []
        self.dropped = 0
        """How many lines have left the beginning of `shown`."""

    def add(self, lines: Iterable[LineView]) -> None:
        """Lines as they came; one that holds several (a stack trace) takes as many."""
        for line in lines:
            when = _time(line.at)
            first, *more = line.text.split("\n")
            self.keep(Shown(f"{when} {plain(line.instance)} {plain(first)[:LONGEST]}", line.level))
            for text in more:
                self.keep(Shown(f"{' ' * len(when)} {plain(text)[:LONGEST]}", line.level))

    def say(self, text: str) -> None:
        """A line of our own, which no level hides."""
        self.keep(note(text))

    def keep(self, line: Shown) -> None:
        """One line of any origin."""
        self._kept.append(line)
        if self._wanted(line):
            self.shown.append(line)
            if len(self.shown) > KEPT:
                del self.shown[0]
                self.dropped += 1

    def filter(self, least: str) -> None:
        """Show only what is at least so serious."""
        self.least = least
        self.shown = [line for line in self._kept if self._wanted(line)]

    def find(self, start: int, step: int) -> int | None:
        """The next line with the words, from `start` on in steps of 1 or -1, round the end; None where there is none."""
        count, words = len(self.shown), self.words.lower()
        if not words:
            return None
        places = ((start + step * each) % count for each in range(count))
        return next((place for place in places if words in self.shown[place].text.lower()), None)

    def _wanted(self, line: Shown) -> bool:
        return line.level == "" or LEVELS.index(line.level) >= LEVELS.index(self.least)


def _time(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S")
