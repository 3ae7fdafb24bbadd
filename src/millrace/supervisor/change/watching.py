"""Notice that the files of a plan are others now, also where a link is swapped under them.

inotify(7) watches folders, not files: an editor writes a new file and renames it, and Kubernetes swaps the link `..data` in
the folder of a ConfigMap. So every folder is watched that a path leads through by a link, and the one where the file lies.
What came is compared by its text: a swap file of an editor, or a touch, is no news.
"""

import asyncio
import ctypes
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

from millrace.runtime.clock import Clock
from millrace.supervisor.plans.text_file import text_in
from millrace.telemetry.logs import logger

log = logger("supervisor")

_EVENTS = 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
"""IN_MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF of <sys/inotify.h>."""
_ONLY_FOLDERS = 0x01000000  # IN_ONLYDIR
_BYTES = 64 * 1024
_MAX_LINKS = 40
"""As many as Linux follows, path_resolution(7)."""
_MAX_HOLD = 10
"""A change is told after so many times the wait for rest, whoever goes on writing."""


def folders(path: Path) -> frozenset[Path]:
    """Every folder in which something could make another file of what a path means."""
    found: set[Path] = set()
    waiting = list(reversed(Path(os.path.abspath(path)).parts[1:]))  # noqa: PTH100  links are followed here, one by one
    place, links = Path("/"), 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            place = place.parent
            continue
        step = place / part
        if step.is_symlink() and links < _MAX_LINKS:
            links += 1
            found.add(place)
            target = Path(os.readlink(step))  # noqa: PTH115  the text of the link, whatever it means
            if target.is_absolute():
                place = Path("/")
            waiting += reversed([one for one in target.parts if one != "/"])
            continue
        if not waiting or not step.exists():
            found.add(place)
        place = step
    return frozenset(found)


class Inotify:
    """One queue of changes in folders."""

    def __init__(self) -> None:
        """Open it.

        Raises:
            OSError: the system has no inotify, or allows no more of them.
        """
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._watched: dict[Path, int] = {}

    def watch(self, wanted: Iterable[Path]) -> None:
        """Watch these folders and no others. One that is not there, or may not be read, is left out."""
        wanted = set(wanted)
        for gone in self._watched.keys() - wanted:
            self._libc.inotify_rm_watch(self.descriptor, self._watched.pop(gone))
        for folder in wanted:
            # Also one that is watched: another may stand in its place. The same one keeps its number.
            with suppress(OSError):
                number = self._libc.inotify_add_watch(self.descriptor, os.fsencode(folder), _EVENTS | _ONLY_FOLDERS)
                self._watched[folder] = self._checked(number)

    def drain(self) -> None:
        """Forget what has come: that something has is all that matters."""
        with suppress(BlockingIOError):
            while os.read(self.descriptor, _BYTES):
                pass

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)

    def _checked(self, number: int) -> int:
        if number < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return number


async def watch(
    files: Callable[[], Awaitable[Iterable[Path]]],
    changed: Callable[[], None],
    *,
    clock: Clock,
    debounce_s: float,
    watching: Callable[[], None] = lambda: None,
) -> None:
    """Call `changed` whenever the text of one of the files is another, once they have been left alone for `debounce_s`.

    `files` is asked again and again, as a plan may include others now; it may name folders, for files to come. `watching`
    is called when nothing can be missed any more. Runs until it is cancelled.

    Raises:
        OSError: the system does not let us watch.
    """
    inotify, bell = Inotify(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def heard() -> None:
        inotify.drain()
        bell.set()

    loop.add_reader(inotify.descriptor, heard)
    try:
        known = _look(inotify, await files())
        watching()
        while True:
            await bell.wait()
            for _ in range(_MAX_HOLD):
                bell.clear()
                if not await clock.wait_event(bell, debounce_s):
                    break
            bell.clear()
            if (now := _look(inotify, await files())) != known:
                known = now
                changed()
    finally:
        loop.remove_reader(inotify.descriptor)
        inotify.close()


def _look(inotify: Inotify, files: Iterable[Path]) -> dict[Path, str | None]:
    """The texts as they are now. They are read after the folders are watched, so that nothing falls in between."""
    found = tuple(files)
    inotify.watch({one for path in found for one in (folders(path) | ({path} if path.is_dir() else set()))})
    return {path: _text(path) for path in found if not path.is_dir()}


def _text(path: Path) -> str | None:
    try:
        return text_in(path)
    except (OSError, ValueError):
        return None
