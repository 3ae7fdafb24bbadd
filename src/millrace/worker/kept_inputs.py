"""Inputs that were fetched, kept for the next task that wants the same one, within bounds of size and age.

What is kept is a second name (a hard link) of the file that an attempt has fetched, given when it was whole. So it costs nothing while
the attempt lasts, nothing half fetched is ever found here, not after a kill either, and whoever uses one keeps it when it goes.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger
from millrace.worker import disk

log = logger("worker")

PATIENCE_S = 600.0
"""How long a task waits for another one that fetches the same; that may be paused."""
MOST_VERSION_BYTES = 80
"""Of a version's name: a file system takes 255 for all of an entry's."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class KeptInputs:
    """The kept inputs of one worker."""

    def __init__(self, folder: Path, *, most_bytes: int, keep_s: float, clock: Clock) -> None:
        """Nothing is touched before :meth:`prepare`. `most_bytes` 0 keeps nothing; `keep_s` counts from the last use."""
        self._all = folder
        self._folder = folder / _boot()
        self._most_bytes = most_bytes
        self._keep_s = keep_s
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def prepare(self) -> None:
        """Make the folder. What was kept before the machine was started anew goes: nobody synced it. Raises OSError."""
        if self._most_bytes or self._all.exists():
            await asyncio.to_thread(self._prepare)

    def _prepare(self) -> None:
        if not self._most_bytes:
            shutil.rmtree(self._all, ignore_errors=True)
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for other in self._all.iterdir():
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)
        self.tidy()

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Let one task after the other look for an input and fetch it: the next one finds it. Who waits too long fetches for itself."""
        lock = self._turns.setdefault(key, asyncio.Lock())
        try:
            await self._clock.wait_for(lock.acquire(), PATIENCE_S)
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def version_of(self, location: str) -> str:
        """The version that is kept of what lies there, as its server names it; empty where none is. Blocking."""
        prefix = f"{_digest(location)}."
        found = ((used, path.name) for used, _, _, path in self._entries() if path.name.startswith(prefix))
        _, name = max(found, default=(0.0, prefix))
        return bytes.fromhex(name.removeprefix(prefix)).decode()

    def take(self, key: str, target: Path, *, version: str = "") -> bool:
        """Give a kept input the name `target`, too; whether there is one. Blocking. Raises OSError."""
        self.tidy()
        try:
            os.link(self._place(key, version), target)
        except FileNotFoundError:
            return False
        now = self._clock.now().timestamp()
        os.utime(target, (now, now))
        return True

    def keep(self, key: str, source: Path, *, version: str = "") -> None:
        """Keep what an attempt has fetched, by a key that names it alone, or as a `version` of what lies at that location, in the place of those
        before. Blocking. What cannot be kept is not, which the log tells.
        """
        if source.stat().st_size > self._most_bytes or len(version.encode()) > MOST_VERSION_BYTES:
            return
        place = self._place(key, version)
        now = self._clock.now().timestamp()
        try:
            source.chmod(0o400)  # it has more readers than the attempt from now on
            os.utime(source, (now, now))
            with suppress(FileExistsError):
                os.link(source, place)
            for other in self._folder.glob(f"{_digest(key)}.*") if version else ():
                if other != place:
                    other.unlink(missing_ok=True)
        except OSError as error:
            log.warning("worker.input_not_kept", reason=str(error))
        self.tidy()

    def tidy(self) -> None:
        """Remove what was not used for too long, then the longest unused ones while all are too large. Blocking."""
        now = self._clock.now().timestamp()
        total, seen = 0, set()
        for used, size, inode, path in sorted(self._entries(), reverse=True):
            total += 0 if inode in seen else size
            seen.add(inode)
            if now - used > self._keep_s or total > self._most_bytes:
                path.unlink(missing_ok=True)

    async def make_room(self, at_least_bytes: int) -> bool:
        """Remove the longest unused ones while there is less room than that; whether any was. Raises OSError."""
        return bool(self._most_bytes) and await asyncio.to_thread(self._make_room, at_least_bytes)

    def _make_room(self, at_least_bytes: int) -> bool:
        removed = False
        for _, _, _, path in sorted(self._entries()):
            if disk.free_bytes(self._folder) >= at_least_bytes:
                break
            path.unlink(missing_ok=True)
            removed = True
        return removed

    def _entries(self) -> list[tuple[float, int, int, Path]]:
        """When each was used last, its bytes, what tells two names of the same file, and where it lies."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    found.append((facts.st_mtime, facts.st_size, facts.st_ino, Path(entry.path)))
        return found

    def _place(self, key: str, version: str = "") -> Path:
        # The version stands in the name, so that one link says which it is.
        return self._folder / (_digest(key) + (f".{version.encode().hex()}" if version else ""))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _boot() -> str:
    """What is another after each start of the machine."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return secrets.token_hex(16)
