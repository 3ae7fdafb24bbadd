"""Write a file whole or not at all, also after a power cut, with its mode from the first byte on."""

import os
import tempfile
from pathlib import Path


def write_beside(path: Path, content: bytes, *, mode: int = 0o600) -> Path:
    """Write and sync a file in the same folder, under another name; the caller gives it its own, and removes what is left."""
    # Private from the first byte on: mkstemp makes files of mode 0600.
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return Path(part)


def sync_folder(folder: Path) -> None:
    """Let the names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put the content there, in place of what there is."""
    part = write_beside(path, content, mode=mode)
    try:
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
