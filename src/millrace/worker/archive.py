"""A finished piece as one file, on its way between machines: a line of JSON with its facts, and then its files, one after another."""

import hashlib
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import msgspec

from millrace.domain.media.recipe import Recipe
from millrace.worker.cache import Facts

MOST_FACTS_BYTES = 16 << 20
_COPIED_AT_ONCE = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class ArchiveError(Exception):
    """It is none, or not that of this piece; the message says why."""


def pack(facts: Facts, piece: Path, target: Path) -> None:
    """Write the piece that lies at `piece`. Blocking. Raises OSError."""
    with target.open("xb") as file:
        file.write(msgspec.json.encode(facts) + b"\n")
        for name in facts.files:
            with (piece / name if name else piece).open("rb") as part:
                shutil.copyfileobj(part, file, _COPIED_AT_ONCE)


def unpack(source: Path, recipe: Recipe, target: Path) -> Facts:
    """Put a piece to `target`, where nothing is yet, each file compared with its SHA-256; it comes from another machine. Blocking.

    Raises:
        ArchiveError, OSError: it is none, not of this recipe, or damaged. Something of it may lie there.
    """
    with source.open("rb") as file:
        try:
            facts = msgspec.json.decode(file.readline(MOST_FACTS_BYTES), type=Facts)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ArchiveError(f"its facts cannot be read: {error}") from None
        if facts.recipe != recipe:
            raise ArchiveError("it has another recipe")
        for name, one in facts.files.items():
            parts = PurePosixPath(name).parts
            if name and (name != "/".join(parts) or not all(map(_NAME.fullmatch, parts))):
                raise ArchiveError(f"{name[:80]!r} is no file's name")
            path = target / name if name else target
            path.parent.mkdir(parents=True, exist_ok=True)
            if _copied(file, path, one.size) != one.sha256:
                raise ArchiveError(f"{name or 'it'} is not what was kept")
    return facts


def _copied(file: BinaryIO, target: Path, size: int) -> str:
    """Copy so many bytes, as far as they are there; the SHA-256 of what was written."""
    found, left = hashlib.sha256(), size
    with target.open("xb") as copy:
        while left > 0 and (data := file.read(min(left, _COPIED_AT_ONCE))):
            copy.write(data)
            found.update(data)
            left -= len(data)
    return found.hexdigest()
