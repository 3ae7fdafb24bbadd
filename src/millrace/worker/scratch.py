"""Where attempts work: one private folder for each, gone when it ends, also after a crash of the worker."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from millrace.telemetry.logs import logger
from millrace.worker.engines_alive import end_leftovers

log = logger("worker")

_ATTEMPTS = "attempts"
_ENGINES = "engines"


class Scratch:
    """A folder that belongs to one worker."""

    def __init__(self, path: Path) -> None:
        """Nothing is touched before :meth:`prepare`."""
        self.path = path
        self.engines = path / _ENGINES
        self._attempts = path / _ATTEMPTS

    def prepare(self) -> None:
        """Make the folder, end the engines of a crashed run and remove what it left. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Engines first: a live one would go on writing into the folder that is being removed.
        engines = end_leftovers(self.engines)
        leftovers = list(self._attempts.iterdir()) if self._attempts.is_dir() else []
        for leftover in leftovers:
            _remove(leftover)
        self._attempts.mkdir(exist_ok=True, mode=0o700)
        self.engines.mkdir(exist_ok=True, mode=0o700)
        if engines or leftovers:
            log.warning("worker.crash_cleaned", engines=engines, folders=len(leftovers))

    @asynccontextmanager
    async def attempt(self, task: str, attempt: int) -> AsyncIterator[Path]:
        """A fresh private folder, removed at the end whatever happens."""
        folder = self._attempts / f"{task}.{attempt}"
        await asyncio.to_thread(_remove, folder)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            # Shielded, because a cancelled task must clean up all the same.
            await asyncio.shield(asyncio.to_thread(_remove, folder))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            log.warning("worker.scratch_not_removed", path=str(path))
    else:
        path.unlink(missing_ok=True)
