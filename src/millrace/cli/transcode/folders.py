"""The two private folders of one `transcode`, gone with it; what a killed one left goes with the next."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from millrace.cli.failure import CommandError, code_of

MEMORY = Path("/dev/shm")  # noqa: S108  the folder for files in memory, where each run makes a private one
DATA_PREFIX = "millrace-transcode-"
YOUNG_S = 60.0


@contextmanager
def folders(target: Path) -> Iterator[tuple[Path, Path]]:
    """A folder for the database, and one for the media beside the output, so that publishing is a rename.

    Raises:
        CommandError: a folder cannot be made (code 2 where another --out or TMPDIR would help).
    """
    with ExitStack() as stack:
        try:
            data = _data(stack)
        except OSError as error:
            raise CommandError(
                f"cannot make a temporary folder: {error.strerror}; set TMPDIR to another one", code=code_of(error)
            ) from error
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch = _scratch(target, stack)
        except OSError as error:
            raise CommandError(
                f"cannot write below {target.parent}: {error.strerror}; choose another --out", code=code_of(error)
            ) from error
        yield data, scratch


def _data(stack: ExitStack) -> Path:
    # Nobody asks for this database after the run, so it need not wait for a disk.
    place = MEMORY if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for old in place.glob(f"{DATA_PREFIX}*"):
        with suppress(OSError):
            # The place is everybody's, so it cannot be locked while a folder is made: a young one may just lack its lock.
            facts = old.lstat()
            if facts.st_uid == os.geteuid() and time.time() - facts.st_mtime > YOUNG_S:
                _remove_left(old)
    data = Path(tempfile.mkdtemp(prefix=DATA_PREFIX, dir=place))
    stack.callback(shutil.rmtree, data, ignore_errors=True)
    _locked(data, stack)
    return data


def _scratch(target: Path, stack: ExitStack) -> Path:
    """A folder that is locked while this process lives, which tells it from one that a killed process left."""
    prefix = f".{target.name}.millrace-"
    with ExitStack() as making:
        _locked(target.parent, making)  # or another start would find it before it is locked
        for old in target.parent.iterdir():
            if old.name.startswith(prefix) and old.is_dir() and not old.is_symlink():
                _remove_left(old)
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        _locked(scratch, stack)
    return scratch


def _locked(folder: Path, stack: ExitStack) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, descriptor)
    with suppress(OSError):  # some network file systems have no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _remove_left(folder: Path) -> None:
    with suppress(OSError), ExitStack() as stack:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
