"""Whether there is room to work."""

import errno
import os
import shutil
from pathlib import Path

from millrace.worker.failure import HandBackError

RETRY_LATER_S = 30.0


def free_bytes(folder: Path) -> int:
    """Bytes that an unprivileged process can still write there."""
    return shutil.disk_usage(folder).free


def count_files(folder: Path, most: int) -> int:
    """How many files and folders lie below a folder, counted to one more than `most`; so many, too, where they lie deeper than any path
    reaches. Blocking.
    """
    count, waiting = 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    count += 1
                    if count > most:
                        return count
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return most + 1
    return count


def check_room(folder: Path, *, at_least_bytes: int, needed_bytes: int = 0) -> None:
    """Pass, or raise :class:`HandBackError`: the threshold must still be kept once `needed_bytes` are written."""
    free = free_bytes(folder)
    if free - needed_bytes < at_least_bytes:
        raise HandBackError(
            f"there is too little room in {folder}: {_mb(free)} free, "
            f"{_mb(at_least_bytes + needed_bytes)} needed; free some space or lower MILLRACE_MIN_FREE_MB",
            delay_s=RETRY_LATER_S,
        )


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
