"""Which files of a folder are whole: those that nobody has changed for a while. Pure; looks come in from outside.

Whether somebody still writes a file cannot be asked on a network share, so it is judged by what each look shows: size, time of the
last change, and inode. A copy that stands still for longer than the time looks whole; then the time has to be longer.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct


class Look(Struct, frozen=True):
    """What one look shows of a file. Two files that took each other's place differ, and so do two states of one."""

    size: int
    mtime_ns: int
    inode: int


class Seen(Struct, frozen=True):
    """A file as it was last, since when it has been so (seconds), and whether it was handed out."""

    look: Look
    since_s: float
    given: bool = False


class Settling:
    """The files of one folder, from look to look."""

    def __init__(self, settle_s: float) -> None:
        """`settle_s`: for so long nothing of a file may change."""
        self._settle_s = settle_s
        self._seen: dict[Path, Seen] = {}

    def look(self, files: Mapping[Path, Look], *, now_s: float, wall_ns: int) -> list[tuple[Path, Look]]:
        """The files that have settled since the look before; each of their states once. `now_s` is monotonic.

        A file that was last changed long ago, such as one that was moved here, is whole if the next look shows the same.
        """
        settled = []
        seen: dict[Path, Seen] = {}
        for path, look in files.items():
            before = self._seen.get(path)
            if before is None or before.look != look:
                seen[path] = Seen(look, now_s)
                continue
            seen[path] = before
            still = now_s - before.since_s >= self._settle_s or wall_ns - look.mtime_ns >= self._settle_s * 1e9
            if still and look.size and not before.given:
                seen[path] = Seen(look, before.since_s, given=True)
                settled.append((path, look))
        self._seen = seen
        return settled

    def give_again(self, files: Iterable[tuple[Path, Look]]) -> None:
        """What came of these is not known: hand them out at the next look."""
        for path, look in files:
            self._seen[path] = Seen(look, self._seen[path].since_s)

    @property
    def is_still(self) -> bool:
        """Whether every file that is there was handed out, but for those that are empty."""
        return all(one.given or not one.look.size for one in self._seen.values())
