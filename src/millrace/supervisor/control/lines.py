"""The last lines that each process printed, in memory."""

from collections import deque
from collections.abc import Container, Sequence

from millrace.supervisor.logs.entry import Entry
from millrace.supervisor.state import Id
from millrace.wire.v1.supervise import LineView

MAX_LINES = 1000
MAX_CHARS = 1 << 20


class _Ring:
    """The last lines of one process: at most MAX_LINES of them, and about MAX_CHARS characters."""

    def __init__(self) -> None:
        self.lines: deque[LineView] = deque()
        self.count = 0
        self._chars = 0

    def add(self, line: LineView) -> None:
        self.lines.append(line)
        self.count = line.number
        self._chars += len(line.text)
        while len(self.lines) > MAX_LINES or (self._chars > MAX_CHARS and len(self.lines) > 1):
            self._chars -= len(self.lines.popleft().text)


class Lines:
    """What processes printed lately. Lines of a process are numbered from 1."""

    def __init__(self) -> None:
        """Nobody has printed anything yet."""
        self._rings: dict[str, _Ring] = {}

    def add(self, each: Id, entries: Sequence[Entry]) -> None:
        """Keep what an instance printed, as it came out of the stages: joined, and without secrets."""
        ring = self._rings.setdefault(each.process, _Ring())
        for entry in entries:
            ring.add(
                LineView(
                    number=ring.count + 1, at=entry.time, instance=str(each), stream=entry.stream, text=entry.message
                )
            )

    def keep(self, names: Container[str]) -> None:
        """Forget what others printed."""
        self._rings = {name: ring for name, ring in self._rings.items() if name in names}

    def last(self, process: str, *, limit: int, after: int | None = None) -> tuple[list[LineView], int, int]:
        """At most `limit` lines, oldest first; the number of the newest one seen; how many after `after` are missing.

        Without `after` these are the newest lines, with it the first ones that follow.
        """
        ring = self._rings.get(process)
        if ring is None:
            return [], 0, 0
        if after is None:
            return list(ring.lines)[-limit:] if limit else [], ring.count, 0
        after = min(after, ring.count)
        found = [line for line in ring.lines if line.number > after][:limit]
        end = found[-1].number if found else ring.count
        return found, end, end - after - len(found)
