"""Blobs in a folder: the key is the path."""

import asyncio
import errno
import hashlib
import os
import secrets
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from millrace.blobs.disk import explained, make_folders, sync_file, sync_folder
from millrace.blobs.source import chunks_of
from millrace.blobs.values import (
    CHUNK_BYTES,
    PRIVATE,
    BlobIncomplete,
    BlobInfo,
    BlobMissing,
    Blobs,
    Stored,
    check_key,
    check_prefix,
)

_INCOMING = f"{PRIVATE}-incoming"
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})
_PLACING_TRIES = 10  # against a delete that removes the emptied folder between our mkdir and our rename


class LocalBlobs(Blobs):
    """Writes to a private name in the same file system, syncs, renames, and syncs the folder."""

    def __init__(self, root: Path) -> None:
        """`root` is made when the first blob is put."""
        self._root = root.absolute()
        self._incoming = self._root / _INCOMING

    async def put(self, key: str, source: Path | AsyncIterable[bytes], *, size_bytes: int | None = None) -> Stored:
        """See Blobs."""
        target = self._path(key)
        doing = f"store {key} in {self._root}"
        with explained(doing):
            writer = await asyncio.to_thread(_Writer, self._incoming)
        done = False
        try:
            async for chunk in chunks_of(source):
                with explained(doing):
                    await asyncio.to_thread(writer.write, chunk)
            if size_bytes is not None and writer.size_bytes != size_bytes:
                raise BlobIncomplete(f"cannot {doing}: {size_bytes} bytes were announced and {writer.size_bytes} came")
            with explained(doing):
                # Shielded, so that a cancelled caller does not leave a thread that publishes later.
                await _finished(asyncio.create_task(asyncio.to_thread(writer.place, target)))
            done = True
        finally:
            if not done:
                await _finished(asyncio.create_task(asyncio.to_thread(writer.discard)))
        return Stored(size_bytes=writer.size_bytes, sha256=writer.sha256)

    async def adopt(self, key: str, source: Path) -> None:
        """See Blobs. On one file system it is a second name of the file."""
        target = self._path(key)
        with explained(f"store {key} in {self._root}"):
            linked = await asyncio.to_thread(_link, source, self._incoming)
            if linked is not None:
                await _finished(asyncio.create_task(asyncio.to_thread(_place, linked, target)))
                return
        await self.put(key, source)

    async def lend(self, key: str, target: Path) -> bool:
        """See Blobs."""
        path = self._path(key)
        if await asyncio.to_thread(_info, key, path) is None:
            raise BlobMissing(f"cannot read {key} in {self._root}: no such blob")
        try:
            await asyncio.to_thread(os.link, path, target)
        except OSError:
            return False
        return True

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See Blobs."""
        file = await asyncio.to_thread(self._open, key)
        try:
            await asyncio.to_thread(file.seek, max(start, 0))
            left = None if end is None else max(end - max(start, 0), 0)
            while left is None or left > 0:
                with explained(f"read {key} in {self._root}"):
                    chunk = await asyncio.to_thread(file.read, CHUNK_BYTES if left is None else min(left, CHUNK_BYTES))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk
        finally:
            file.close()

    async def stat(self, key: str) -> BlobInfo:
        """See Blobs."""
        path = self._path(key)
        info = await asyncio.to_thread(_info, key, path)
        if info is None:
            raise BlobMissing(f"cannot find {key} in {self._root}: no such blob")
        return info

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """See Blobs."""
        folder = self._root / check_prefix(prefix)
        for info in await asyncio.to_thread(lambda: [*self._walk(folder)]):
            yield info

    async def delete(self, key: str) -> None:
        """See Blobs. Folders that this empties go too."""
        path = self._path(key)
        with explained(f"delete {key} in {self._root}"):
            await asyncio.to_thread(self._delete, path)

    async def exists(self, key: str) -> bool:
        """See Blobs."""
        return await asyncio.to_thread(_info, key, self._path(key)) is not None

    async def sweep(self, *, now: datetime, older_than: timedelta) -> int:
        """Remove what crashed writers left behind: private files untouched for so long. Gives their number."""

        def work() -> int:
            count = 0
            with suppress(FileNotFoundError):
                for path in self._incoming.iterdir():
                    with suppress(FileNotFoundError):
                        if now - datetime.fromtimestamp(path.stat().st_mtime, UTC) > older_than:
                            path.unlink()
                            count += 1
            return count

        with explained(f"clean up {self._incoming}"):
            return await asyncio.to_thread(work)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _open(self, key: str) -> BinaryIO:
        path = self._path(key)
        missing = BlobMissing(f"cannot read {key} in {self._root}: no such blob")
        if _info(key, path) is None:
            raise missing
        with explained(f"read {key} in {self._root}"):
            try:
                return path.open("rb", buffering=0)
            except FileNotFoundError:
                raise missing from None

    def _walk(self, folder: Path) -> Iterator[BlobInfo]:
        for directory, folders, files in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(PRIVATE)]
            for name in files:
                path = Path(directory, name)
                info = _info(path.relative_to(self._root).as_posix(), path)
                if info is not None and not name.startswith(PRIVATE):
                    yield info

    def _delete(self, path: Path) -> None:
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        sync_folder(path.parent)
        for folder in path.parents:
            if folder == self._root:
                return
            try:
                folder.rmdir()
            except OSError:  # not empty
                return


class _Writer:
    """One private file on its way to its name. Used from one thread at a time."""

    def __init__(self, incoming: Path) -> None:
        make_folders(incoming)
        self._path = incoming / secrets.token_hex(16)
        self._file = self._path.open("xb", buffering=0)
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        with self._lock:  # discard, after a cancelled write, waits for that write
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]
            self._hash.update(chunk)
            self.size_bytes += len(chunk)

    def place(self, target: Path) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        _rename(self._path, target)

    def discard(self) -> None:
        with self._lock:
            self._file.close()
            self._path.unlink(missing_ok=True)


def _rename(path: Path, target: Path) -> None:
    """Give a synced file its name, durably."""
    for attempt in range(_PLACING_TRIES):
        make_folders(target.parent)
        try:
            path.replace(target)
        except FileNotFoundError:
            if attempt == _PLACING_TRIES - 1:
                raise
        else:
            break
    sync_folder(target.parent)


def _link(source: Path, incoming: Path) -> Path | None:
    """A second name of a file, private as yet; None where the two places have no file system in common. Raises OSError."""
    make_folders(incoming)
    path = incoming / secrets.token_hex(16)
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return None
        raise
    return path


def _place(path: Path, target: Path) -> None:
    """Sync a private file and give it its name; it is gone where that fails. Raises OSError."""
    try:
        sync_file(path)
        _rename(path, target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _finished(task: asyncio.Task[None]) -> None:
    """Wait for a thread to its end, even when cancelled meanwhile; then be cancelled."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


def _info(key: str, path: Path) -> BlobInfo | None:
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not path.is_file():
        return None
    return BlobInfo(key=key, size_bytes=facts.st_size, modified=datetime.fromtimestamp(facts.st_mtime, UTC))
