"""The key of a master: the one that was given, or one that is made at the first start and kept in the data folder."""

import os
import secrets
from pathlib import Path

from millrace.config.settings import SettingError

FILE = "api-key"
SHORTEST = 8


def check(key: str, file: Path | None) -> None:
    """Pass, or say what is wrong with a key; an empty file is what a crash at the first start leaves.

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
    try:
        return path.read_text(errors="replace").strip(), path, False
    except FileNotFoundError:
        pass
    key = f"mr_{secrets.token_urlsafe(32)}"
    # Exclusive and private from the first byte on; of two first starts, one makes the key and the other reads it.
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(errors="replace").strip(), path, False
    with os.fdopen(opened, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    return key, path, True
