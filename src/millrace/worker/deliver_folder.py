"""Deliver to a folder below an allowed root: it appears whole, or not at all."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

from millrace.blobs.publish import publish, settle
from millrace.blobs.values import BlobError
from millrace.wire.v1.work import OutputReport
from millrace.worker.control import Control
from millrace.worker.deliver import MANIFEST, Delivery, check_newest, foreign, made_by, manifest, owned, taken
from millrace.worker.failure import from_blob_error, from_os_error


class FolderDestination:
    """One folder; `path` was judged by `Roots`."""

    def __init__(self, path: Path) -> None:
        """The folder that will hold the outputs."""
        self._path = path

    async def check(self, job: str, *, overwrite: bool) -> None:
        """Refuse a place that holds anything but an earlier attempt of the same job, or with `overwrite` an output."""
        await asyncio.to_thread(self._check, job, overwrite=overwrite)

    async def settle(self, folder: Path) -> None:
        """Bring the bytes to the disk, which takes about as long as to check them."""
        await asyncio.to_thread(settle, folder, self._path)

    async def publish(self, delivery: Delivery, control: Control) -> list[OutputReport]:
        """Move the whole folder to its name."""
        await control.gate()
        # A thread cannot be cancelled: wait for its end, so that nobody cleans up under it.
        moving = asyncio.ensure_future(asyncio.to_thread(self._publish, delivery))
        try:
            await asyncio.shield(moving)
        except asyncio.CancelledError:
            await asyncio.wait((moving,))
            raise
        return [product.reported(str(self._path / product.name)) for product in delivery.products]

    def _publish(self, delivery: Delivery) -> None:
        try:
            (delivery.folder / MANIFEST).write_bytes(manifest(delivery))
            self._check(delivery.job, overwrite=delivery.overwrite)  # hours may have passed since the first look
            ours = self._made_by(delivery.job)
            publish(
                delivery.folder,
                self._path,
                overwrite=delivery.overwrite or ours,
                # At the last moment: this thread may have stood still since the lease was checked.
                permit=lambda: check_newest(self._manifest(), delivery),
            )
        except BlobError as error:
            raise from_blob_error(error) from error
        except OSError as error:
            raise from_os_error(error, f"write the output to {self._path}") from error

    def _check(self, job: str, *, overwrite: bool) -> None:
        if self._made_by(job):
            return
        try:
            stranger = self._stranger()
        except FileNotFoundError:
            return
        except OSError as error:
            raise from_os_error(error, f"look into {self._path}") from error
        if stranger is not None:
            raise foreign(str(self._path), stranger) if overwrite else taken(str(self._path))
        if not overwrite and any(self._path.iterdir()):
            raise taken(str(self._path))

    def _stranger(self) -> str | None:
        """What lies there that Millrace did not make: a name in the folder, "" for the place itself, None for nothing.

        To overwrite is to exchange the whole folder. A mistyped name must not cost anybody a home, or the film itself.
        """
        if self._path.is_symlink() or not self._path.is_dir():
            os.lstat(self._path)
            return ""
        ours = self._owned()
        return next((name for name in _files(self._path) if name not in ours), None)

    def _owned(self) -> frozenset[str]:
        names = owned(self._manifest())
        return names | {MANIFEST} if names else names

    def _made_by(self, job: str) -> bool:
        return made_by(self._manifest(), job)

    def _manifest(self) -> bytes:
        try:
            return (self._path / MANIFEST).read_bytes()
        except OSError:
            return b""


def _files(folder: Path) -> Iterator[str]:
    """The names of all that is no folder, below this one."""
    for directory, folders, files in os.walk(folder):
        below = Path(directory)
        links = [name for name in folders if (below / name).is_symlink()]
        yield from ((below / name).relative_to(folder).as_posix() for name in (*files, *links))
