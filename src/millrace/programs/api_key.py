"""The key of a master: the one that was given, or one that is made at the first start and kept in the data folder."""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from millrace.config.errors import SettingError
from millrace.domain.keys import RANDOM_BYTES, spell
from millrace.programs.private_file import sync_folder, write_beside

FILE = "api-key"
SHORTEST = 8
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems without hard links answer (link(2))."""


def check(key: str, file: Path | None) -> None:
    """Pass, or say what is wrong with a key.

    Raises:
        SettingError: it is too short, or cannot be sent in a header.
    """
    if len(key) >= SHORTEST and key.isascii() and key.isprintable():
        return
    wanted = f"at least {SHORTEST} printable ASCII characters"
    if file is None:
        raise SettingError(f"cannot use the API key that was given: it must have {wanted}")
    raise SettingError(f"cannot use the API key in {file}: it must have {wanted}; remove the file for a new one")


def find_or_make(given: str, data: Path) -> tuple[str, Path | None, bool]:
    """The key, the file that holds it (None where it was given), and whether it was made just now."""
    if given:
        return given, None, False
    path = data / FILE
    with suppress(FileNotFoundError):
        return _read(path), path, False
    key = spell(secrets.token_bytes(RANDOM_BYTES))
    if keep(path, key):
        return key, path, True
    return _read(path), path, False


def _read(path: Path) -> str:
    return path.read_text(errors="replace").strip()


def keep(path: Path, key: str) -> bool:
    """Put the key there, whole or not at all also after a power cut; False where another first start was quicker."""
    part = write_beside(path, (key + "\n").encode())
    try:
        if not _name(part, path):
            return False
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def _name(part: Path, path: Path) -> bool:
    """Give the file its name, unless another has it."""
    try:
        # A rename would replace the key that another first start has made meanwhile and uses already.
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            return False
        part.rename(path)
    return True
