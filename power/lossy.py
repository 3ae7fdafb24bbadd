"""SQLite's files with a memory of what was synced: beside each lies a second one that holds what a power cut would leave.

A file layer of SQLite (VFS), so it needs no rights and no device: what is written goes to the file, as always, and to the second
one when it is synced. Torn writes are what the two differ in, sector by sector (`after_a_cut`).
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import apsw

SECTOR = 512
_Change = tuple[int, bytes | None]
"""Where something was written, and what; None for a file that was cut off there."""


class LossyDisk(apsw.VFS):
    """The default file layer of this process from its making on. `step` hears of everything before it is done, and may raise or kill."""

    def __init__(self, root: Path, durable: Path, step: Callable[[str], None]) -> None:
        """Files below `root` have their second ones below `durable`, under the same names."""
        super().__init__("lossy", "unix", makedefault=True)
        self.step = step
        self._root = root
        self._durable = durable
        self._unsynced: dict[str, list[_Change]] = {}

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802  SQLite's name
        """See SQLite."""
        return _LossyFile(self, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802  SQLite's name
        """See SQLite."""
        self.step("delete")
        super().xDelete(name, syncdir)
        if (second := self._second(name)) is not None:
            self._unsynced.pop(name, None)
            second.unlink(missing_ok=True)

    def changed(self, name: str, change: _Change) -> None:
        """It is in the file, and not synced."""
        self._unsynced.setdefault(name, []).append(change)

    def synced(self, name: str) -> None:
        """Everything up to here is on the disk."""
        second = self._second(name)
        if second is None:
            return
        second.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(second, os.O_RDWR | os.O_CREAT)
        for offset, data in self._unsynced.pop(name, []):
            if data is None:
                os.truncate(descriptor, offset)
            else:
                os.pwrite(descriptor, data, offset)
        os.close(descriptor)

    def _second(self, name: str) -> Path | None:
        path = Path(name)
        return self._durable / path.relative_to(self._root) if path.is_relative_to(self._root) else None


class _LossyFile(apsw.VFSFile):
    def __init__(self, disk: LossyDisk, name: Any, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else name or ""

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802  SQLite's name
        self._disk.step("write")
        super().xWrite(data, offset)
        self._disk.changed(self._name, (offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  SQLite's name
        self._disk.step("truncate")
        super().xTruncate(newsize)
        self._disk.changed(self._name, (newsize, None))

    def xSync(self, flags: int) -> None:  # noqa: N802  SQLite's name
        self._disk.step("sync")
        super().xSync(flags)
        self._disk.synced(self._name)


def after_a_cut(root: Path, durable: Path, chance: Random) -> None:
    """Make the databases below `root` what a power cut leaves: what was synced, and of all else any sectors, or none."""
    for path in sorted(path for path in root.rglob("*.db*") if path.is_file()):
        second = durable / path.relative_to(root)
        written = path.read_bytes()
        if path.name.endswith(("-shm", ".pid")):
            if path.name.endswith("-shm"):
                path.unlink()
            continue
        if not second.exists():
            path.unlink()
            continue
        kept = bytearray(second.read_bytes())
        share = chance.choice((0.0, 0.5, 1.0))
        for at in range(0, len(written), SECTOR):
            if written[at : at + SECTOR] != kept[at : at + SECTOR] and chance.random() < share:
                kept.extend(bytes(max(0, at - len(kept))))
                kept[at : at + SECTOR] = written[at : at + SECTOR]
        path.write_bytes(kept)


def copied(root: Path, target: Path) -> Path:
    """All of a folder, elsewhere."""
    shutil.copytree(root, target, symlinks=True)
    return target
