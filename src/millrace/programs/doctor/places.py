"""Where a worker writes and reads."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from millrace.config.settings import WorkerSettings
from millrace.programs.doctor.finding import Look, failed, skipped, warning

MEGABYTE = 10**6


class Places:
    """The folders that a worker's settings name."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Nothing is looked at yet."""
        self._settings = settings

    def checks(self) -> Mapping[str, Look]:
        """In the order of the report."""
        return {
            "worker.state": self._state,
            "worker.scratch": self._scratch,
            "worker.media-roots": self._roots,
            "worker.outputs": self._outputs,
            "worker.slots": self._slots,
        }

    async def _state(self) -> str:
        state = self._settings.state.absolute()
        if not state.exists():
            raise skipped(f"{state} is made at the first start")
        if not os.access(state, os.W_OK | os.X_OK):
            raise failed(f"{state} cannot be written to", f"let this user write there: chown {os.getuid()} {state}")
        return f"{state} can be written to"

    async def _scratch(self) -> str:
        folder = nearest(self._settings.state.absolute() / "scratch")
        free, wanted = shutil.disk_usage(folder).free // MEGABYTE, self._settings.min_free_mb
        text = f"{free:,} MB free at {folder}, and {wanted:,} MB are kept free"
        if free <= wanted:
            raise failed(text, "free some space, or lower MILLRACE_MIN_FREE_MB; it takes no work as it is")
        if free < 10 * wanted:
            raise warning(text, "a film in work takes its own size and that of its output")
        return text

    async def _roots(self) -> str:
        roots = self._settings.media_roots
        if not roots:
            raise skipped("none: jobs may name no path on this machine")
        gone = [str(root) for root in roots if not root.is_dir()]
        closed = [str(root) for root in roots if root.is_dir() and not os.access(root, os.R_OK | os.X_OK)]
        if gone or closed:
            found = [f"{path}: no such folder" for path in gone] + [f"{path}: cannot be read" for path in closed]
            raise failed("; ".join(found), "mount it, let this user read it, or change MILLRACE_MEDIA_ROOTS")
        return ", ".join(map(str, roots))

    async def _outputs(self) -> str:
        roots = [root for root in self._settings.media_roots if root.is_dir()]
        able = [root for root in roots if os.access(root, os.W_OK)]
        if not roots:
            raise skipped("no media root")
        if not able:
            raise warning(
                "no media root can be written to", "outputs by path will fail; the master can keep them instead"
            )
        for root in able:
            with tempfile.TemporaryDirectory(prefix=".millrace-doctor-", dir=root) as folder:
                (Path(folder) / "a").mkdir()
                (Path(folder) / "a").rename(Path(folder) / "b")
        return f"can be written to: {', '.join(map(str, able))}"

    async def _slots(self) -> str:
        return f"{self._settings.slots} task{'s' * (self._settings.slots != 1)} at a time"


def nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that there is."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
