"""The key of a master: the one that was given, or one that is made at the first start and kept in the data folder."""

import os
import secrets
from pathlib import Path

FILE = "api-key"


def find_or_make(given: str, data: Path) -> tuple[str, Path | None, bool]:
    """The key, the file that holds it (None where it was given), and whether it was made just now."""
    if given:
        return given, None, False
    path = data / FILE
    try:
        return path.read_text().strip(), path, False
    except FileNotFoundError:
        pass
    key = f"mr_{secrets.token_urlsafe(32)}"
    # Exclusive and private from the first byte on; of two first starts, one makes the key and the other reads it.
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip(), path, False
    with os.fdopen(opened, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    return key, path, True
