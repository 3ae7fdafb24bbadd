"""Deliver to a folder below an allowed root: it appears whole, or not at all."""

import asyncio
from pathlib import Path

from millrace.blobs.publish import publish
from millrace.blobs.values import BlobError
from millrace.wire.v1.work import OutputReport
from millrace.worker.control import Control
from millrace.worker.deliver import MANIFEST, Delivery, made_by, manifest, taken
from millrace.worker.failure import from_blob_error, from_os_error


class FolderDestination:
    """One folder; `path` was judged by `Roots`."""

    def __init__(self, path: Path) -> None:
        """The folder that will hold the outputs."""
        self._path = path

    async def check(self, job: str, *, overwrite: bool) -> None:
        """Refuse a place that holds anything but an earlier attempt of the same job."""
        if not await asyncio.to_thread(self._may_publish, job, overwrite=overwrite):
            raise taken(str(self._path))

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
            ours = self._made_by(delivery.job)
            publish(delivery.folder, self._path, overwrite=delivery.overwrite or ours)
        except BlobError as error:
            raise from_blob_error(error) from error
        except OSError as error:
            raise from_os_error(error, f"write the output to {self._path}") from error

    def _may_publish(self, job: str, *, overwrite: bool) -> bool:
        if overwrite or self._made_by(job):
            return True
        try:
            return not any(self._path.iterdir())
        except FileNotFoundError:
            return not self._path.is_symlink()
        except NotADirectoryError:
            return False
        except OSError as error:
            raise from_os_error(error, f"look into {self._path}") from error

    def _made_by(self, job: str) -> bool:
        try:
            return made_by((self._path / MANIFEST).read_bytes(), job)
        except OSError:
            return False
