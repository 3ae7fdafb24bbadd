"""The last lines that each process printed, in memory."""

from collections.abc import Container, Sequence

from millrace.supervisor.logs.entry import Entry
from millrace.supervisor.logs.ring import Ring
from millrace.supervisor.state import Id
from millrace.wire.v1.supervise import LineView

MAX_LINES = 1000


class _Kept:
    """The last lines of one process, and how many there were in all."""

    def __init__(self) -> None:
        self.ring = Ring(MAX_LINES)
        self.count = 0

    def views(self) -> list[LineView]:
        """Oldest first. Made when somebody asks: most lines are never asked for."""
        entries = self.ring.entries()
        return [
            LineView(
                number=number, at=entry.time, instance=entry.instance, stream=entry.stream, text=entry.message,
                level=entry.level.value,
            )
            for number, entry in enumerate(entries, self.count - len(entries) + 1)
        ]  # fmt: skip


class Lines:
    """What processes printed lately. Lines of a process are numbered from 1."""

    def __init__(self) -> None:
        """Nobody has printed anything yet."""
        self._kept: dict[str, _Kept] = {}

    def add(self, each: Id, entries: Sequence[Entry]) -> None:
        """Keep what an instance printed, as it came out of the stages: joined, and without secrets."""
        kept = self._kept.setdefault(each.process, _Kept())
        kept.ring.extend(entries)
        kept.count += len(entries)

    def keep(self, names: Container[str]) -> None:
        """Forget what others printed."""
        self._kept = {name: kept for name, kept in self._kept.items() if name in names}

    def last(self, process: str, *, limit: int, after: int | None = None) -> tuple[list[LineView], int, int]:
        """At most `limit` lines, oldest first; the number of the newest one seen; how many after `after` are missing.

        Without `after` these are the newest lines, with it the first ones that follow.
        """
        kept = self._kept.get(process)
        if kept is None:
            return [], 0, 0
        if after is None:
            return kept.views()[-limit:] if limit else [], kept.count, 0
        after = min(after, kept.count)
        found = [line for line in kept.views() if line.number > after][:limit] if after < kept.count else []
        end = found[-1].number if found else kept.count
        return found, end, end - after - len(found)
