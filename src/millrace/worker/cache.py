"""Finished pieces of films in a folder, each under the digest of its recipe. Several workers of one machine may share it.

An entry gets its name in one rename when it is complete, so there is no half one, whoever is killed when. What a disk or a power cut makes of
it afterwards is found by its SHA-256 when it is taken, and then it is none. So nothing here waits for a disk.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from stat import S_ISREG

import msgspec
from msgspec import Struct

from millrace.domain.media.proof import Maker
from millrace.domain.media.recipe import Recipe
from millrace.runtime.no_space import NO_SPACE
from millrace.telemetry.logs import logger

log = logger("worker")

_FACTS, _PIECE, _NOTES = "facts.json", "piece", "films"
_ENTRY = re.compile(r"[0-9a-f]{64}")
_PRIVATE = ".part-"
_ABANDONED_S = 3600.0
"""What is private and older than this was left by somebody who was killed."""
_LOOKS = 16
"""The folder is looked through whenever what was added since is such a part of what it may hold, and every `_LOOK_S` seconds."""
_LOOK_S = 60.0
_COPIED_AT_ONCE = 1 << 30
_NO_LINKS = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF}
)


class CacheTerms(Struct, frozen=True, kw_only=True):
    """Where a cache is and what it may take: bytes in all, seconds for which a piece stays that nobody uses, and bytes that it leaves free
    on its disk.
    """

    folder: Path
    most_bytes: int
    unused_s: float
    keep_free_bytes: int = 0


class File(Struct, frozen=True):
    """One file of a piece."""

    size: int
    sha256: str


class Facts(Struct, frozen=True, kw_only=True):
    """What is kept with a piece: its recipe, its files by their names below it ("" where it is one file), who made it and when (UTC)."""

    recipe: Recipe
    files: dict[str, File]
    made_by: Maker
    made_at: str

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(file.size for file in self.files.values())


class _DamagedError(Exception):
    """An entry is not what was kept."""


class Cache:
    """Everything here blocks: call it in threads, as many as you like."""

    def __init__(self, terms: CacheTerms, *, now: Callable[[], datetime]) -> None:
        """Nothing is touched before it is used. `now` is aware."""
        self.folder = terms.folder
        self._terms = terms
        self._now = now
        self._look = threading.Lock()
        self._added = 0
        self._looked_at: float | None = None

    def has(self, recipe: Recipe) -> bool:
        """Whether there is such a piece; whether it is still whole is seen when it is taken."""
        return (self.folder / recipe.key / _FACTS).exists()

    def take(self, recipe: Recipe, target: Path) -> Facts | None:
        """Put the piece at `target`, where nothing is yet, as files of its own; None, and nothing there, where there is no good one.

        The copy is compared, not what it is a copy of: so what is used is what was compared, and nobody else can write to it.
        """
        entry = self.folder / recipe.key
        try:
            facts = _facts(entry, recipe)
            target.parent.mkdir(parents=True, exist_ok=True)
            for name, file in facts.files.items():
                _take(_below(entry / _PIECE, name), _below(target, name), file)
            self._touch(entry / _FACTS)
        except FileNotFoundError:
            remove(target)
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, _DamagedError) as error:
            remove(target)
            log.warning("worker.cache_not_used", piece=recipe.key, reason=str(error))
            if not isinstance(error, OSError) or error.errno not in NO_SPACE:
                self.forget(recipe.key)
            return None
        return facts

    def keep(self, recipe: Recipe, path: Path, made_by: Maker) -> None:
        """Keep the piece that lies at `path`. What cannot be kept is not, and the log says why.

        Its files get a second name here, and no second room, where the file system can do that.
        """
        if self.has(recipe):
            return
        private = self.folder / f"{_PRIVATE}{secrets.token_hex(8)}"
        try:
            private.mkdir(parents=True, mode=0o700)
            files = {name: _keep(file, _below(private / _PIECE, name)) for name, file in _files(path)}
            facts = Facts(
                recipe=recipe, files=files, made_by=made_by, made_at=self._now().isoformat(timespec="seconds")
            )
            if facts.size > self._terms.most_bytes:
                return
            (private / _FACTS).write_bytes(msgspec.json.encode(facts))
            self._touch(private / _FACTS)
            with suppress(FileExistsError):
                private.rename(self.folder / recipe.key)
            self._added += facts.size
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # another one was quicker
                log.warning("worker.cache_not_kept", folder=str(self.folder), reason=error.strerror or str(error))
        finally:
            remove(private)
        self.trim()

    def facts(self, recipe: Recipe) -> Facts | None:
        """What is kept with a piece; None where it is not there. What it says of the piece itself is not compared."""
        try:
            return _facts(self.folder / recipe.key, recipe)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, _DamagedError):
            return None

    def forget(self, key: str) -> None:
        """Take a piece out."""
        if _ENTRY.fullmatch(key):
            self._drop(self.folder / key)

    def note(self, film: str, text: bytes) -> None:
        """Remember something of a film under its key, in the place of what was remembered before."""
        path = self.folder / _NOTES / film
        private = path.with_name(f"{_PRIVATE}{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            private.write_bytes(text)
            self._touch(private)
            private.replace(path)
        except OSError as error:
            log.warning("worker.cache_not_kept", folder=str(self.folder), reason=error.strerror or str(error))
            remove(private)

    def noted(self, film: str) -> bytes | None:
        """What is remembered of a film."""
        try:
            return (self.folder / _NOTES / film).read_bytes()
        except OSError:
            return None

    def trim(self, *, surely: bool = False) -> None:
        """Remove what is beyond the bounds, what was unused for longest first; `surely` now, else when it may be time."""
        with self._look:
            now_s = self._now().timestamp()
            due = self._looked_at is None or not 0 <= now_s - self._looked_at < _LOOK_S
            with suppress(OSError):  # also where there is no folder yet
                if surely or due or self._added * _LOOKS > self._terms.most_bytes or self._lacking() > 0:
                    self._added, self._looked_at = 0, now_s
                    self._trim(now_s)

    def _trim(self, now_s: float) -> None:
        found: list[tuple[float, Path, int]] = []
        for path in self.folder.iterdir():
            if path.name.startswith(_PRIVATE):
                self._drop_old(path, now_s - _ABANDONED_S)
            elif _ENTRY.fullmatch(path.name):
                try:
                    used_s, size = (
                        (path / _FACTS).stat().st_mtime,
                        msgspec.json.decode((path / _FACTS).read_bytes(), type=Facts).size,
                    )
                except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
                    self._drop(path)
                else:
                    found.append((used_s, path, size))
        for note in (self.folder / _NOTES).glob("*"):
            self._drop_old(note, now_s - (_ABANDONED_S if note.name.startswith(_PRIVATE) else self._terms.unused_s))
        over = sum(size for _, _, size in found) - self._terms.most_bytes
        lacking = self._lacking()
        for used_s, path, size in sorted(found):
            if over <= 0 and lacking <= 0 and now_s - used_s < self._terms.unused_s:
                break
            self._drop(path)
            over, lacking = over - size, lacking - size

    def _lacking(self) -> int:
        """Bytes by which there is too little room on the disk."""
        return self._terms.keep_free_bytes - shutil.disk_usage(self.folder).free

    def _drop_old(self, path: Path, before_s: float) -> None:
        with suppress(OSError):
            if path.lstat().st_mtime < before_s:
                remove(path)

    def _drop(self, entry: Path) -> None:
        """In one step for everybody who looks, whatever becomes of the rest."""
        private = self.folder / f"{_PRIVATE}{secrets.token_hex(8)}"
        with suppress(OSError):
            entry.rename(private)
            remove(private)

    def _touch(self, path: Path) -> None:
        now_s = self._now().timestamp()
        os.utime(path, (now_s, now_s))


def _facts(entry: Path, recipe: Recipe) -> Facts:
    """Raises OSError, MsgspecError, _DamagedError."""
    facts = msgspec.json.decode((entry / _FACTS).read_bytes(), type=Facts)
    if facts.recipe != recipe:
        raise _DamagedError("it has another recipe")
    return facts


def _below(path: Path, name: str) -> Path:
    return path / name if name else path


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a piece by its name below it. Raises OSError, also for a link: an engine that was taken over may have left one that
    leads out of its sandbox.
    """
    if path.is_symlink() or not path.is_dir():
        yield "", path
        return
    for folder, folders, names in os.walk(path):
        yield from ((file.relative_to(path).as_posix(), file) for file in (Path(folder, name) for name in names))
        if any(Path(folder, name).is_symlink() for name in folders):
            raise OSError(errno.ELOOP, "it holds a link", folder)


def _keep(path: Path, target: Path) -> File:
    facts = path.lstat()
    if not S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it holds what is no file", str(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy(path, target)
    return File(size=facts.st_size, sha256=_digest(target))


def _take(path: Path, target: Path, wanted: File) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(path, target)
    if target.stat().st_size != wanted.size or _digest(target) != wanted.sha256:
        raise _DamagedError(f"{path.name} is not what was kept")


def _copy(path: Path, target: Path) -> None:
    """A file of its own with the same bytes, which share their room where the file system can do that (copy_file_range(2))."""
    with path.open("rb") as source, target.open("xb") as copy:
        left = os.fstat(source.fileno()).st_size
        try:
            while left > 0 and (done := os.copy_file_range(source.fileno(), copy.fileno(), min(left, _COPIED_AT_ONCE))):
                left -= done
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            source.seek(0)
            copy.seek(0)
            shutil.copyfileobj(source, copy)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file or a folder with all below it, as far as it lets itself. Blocking."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
