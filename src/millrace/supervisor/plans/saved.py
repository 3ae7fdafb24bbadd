"""The file beside a plan in which the changes of the control API are saved. The plan's own text is never touched."""

import os
import stat
import tempfile
from pathlib import Path

HEADER = """\
# Written by millrace: processes that were added, changed or removed over the control API, read on top of the plan beside it.
# Edit it, or delete it to be left with the plan alone, and reload. Comments are lost with the next save.
"""


def place_beside(plan: Path) -> Path:
    """Where it is: no pattern such as `*.yaml` in an `include` takes it in."""
    return plan.with_name(f"{plan.name}.changes")


def load(path: Path, *, owner: int, most: int) -> str | None:
    """What was saved, cut after `most` characters and one; None where nothing was. `owner` is the user that the plan belongs to.

    Who may make a file in the folder of a plan, such as /tmp, must not decide by that what runs: so it has to belong to the
    owner of the plan, to us or to root, and nobody else may be able to write to it.

    Raises:
        ValueError: it cannot be used; a phrase.
    """
    try:
        # A link or a queue that somebody has put there is not followed, nor waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}; mend that, or delete it") from error
    with os.fdopen(descriptor, encoding="utf-8") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is no file; delete it")
        if found.st_uid not in (owner, os.geteuid(), 0):
            raise ValueError(
                f"belongs to the user {found.st_uid}, and the plan to {owner}; look at it, then chown or delete it"
            )
        if stat.S_IMODE(found.st_mode) & 0o022:
            raise ValueError("can be written by others; look at it, then chmod go-w or delete it")
        try:
            return file.read(most + 1)
        except UnicodeDecodeError as error:
            raise ValueError(f"is no UTF-8 at byte {error.start}") from error


def keep(path: Path, text: str) -> None:
    """Write it, whole or not at all also after a power cut; with nothing to keep, take the file away.

    Raises:
        OSError: it cannot be written.
    """
    if not text:
        path.unlink(missing_ok=True)
        _sync(path.parent)
        return
    # Private from the first byte on: mkstemp makes files of mode 0600, and what is saved may hold secrets.
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make the names in it durable: a rename is not, until its folder is synced (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
