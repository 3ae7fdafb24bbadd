"""Publish finished outputs on a file system: a folder or a file appears whole under its name, or not at all.

The source is brought beside its destination under a private name (moved, or copied from another file system), synced,
and given its name in one rename. An existing destination is exchanged with it in one step (renameat2 RENAME_EXCHANGE);
file systems without that get two renames, and `recover` puts the old one back when a crash came between them.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from millrace.blobs.disk import (
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    NotSupported,
    explained,
    make_folders,
    rename_with,
    sync_file,
    sync_folder,
)
from millrace.blobs.values import PRIVATE, BlobError

_PART = "part"
_OLD = "old"


class DestinationExists(BlobError):  # noqa: N818  the message begins with "cannot"
    """Something is there already, and overwriting was not asked for."""


def publish(
    source: Path, destination: Path, *, overwrite: bool = False, permit: Callable[[], None] = lambda: None
) -> None:
    """Move a finished file or folder to its public name, durably and in one step. The source is gone afterwards.

    A crash on the way may lose the new output (its task runs again), never the old one, and never mixes them.

    Blocks; call it in a thread. A symbolic link at the destination is replaced, never followed. An empty folder at the
    destination counts as nothing. `permit` is asked at the last moment, while no other publisher can touch the folder; what
    it raises leaves everything as it was. Raises DestinationExists (the source is untouched), BlobsFull, BlobsRefused or
    BlobsUnavailable; in each case the destination is as it was.
    """
    source, destination = source.absolute(), destination.absolute()
    with explained(f"publish {destination}"):
        make_folders(destination.parent)
        recover(destination)
        if not overwrite:
            _refuse_existing(destination)
        with _private(destination) as part:
            _bring(source, part)
            brought = os.lstat(part).st_ino
            try:
                with _locked(destination.parent):
                    permit()
                    _place(part, destination, overwrite=overwrite)
            except BaseException:
                # The work of hours is worth more than a clean folder: give it back where it came from, unless what lies
                # there now is the old output.
                with suppress(OSError):
                    if not os.path.lexists(source) and os.lstat(part).st_ino == brought:
                        part.rename(source)
                raise
        if os.path.lexists(source):
            _remove(source)


def settle(source: Path, destination: Path) -> None:
    """Bring to the disk what `publish` will move: a head start, for a time in which the output is looked at anyway.

    Blocks; call it in a thread. What goes wrong goes wrong again in `publish`, which says so.
    """
    with suppress(OSError):
        place = next(folder for folder in destination.absolute().parents if folder.is_dir())
        if os.lstat(source).st_dev == os.lstat(place).st_dev:  # else it is copied, and the copy is what counts
            _sync_tree(source)


def recover(destination: Path) -> None:
    """Mend what a crash during `publish` to this name left: the old output comes back, private leftovers go."""
    destination = destination.absolute()
    with explained(f"clean up beside {destination}"), _locked(destination.parent):
        for old in _siblings(destination, _OLD):
            if os.path.lexists(destination):
                _remove(old)
            else:
                old.rename(destination)
                sync_folder(destination.parent)
        for holder in _siblings(destination, _PART):
            with _held(holder) as free:
                if free:
                    _remove(holder)


def _refuse_existing(destination: Path) -> None:
    if os.path.lexists(destination) and not _empty_folder(destination):
        raise DestinationExists(f"cannot publish {destination}: it exists; name another place or ask to overwrite it")


def _empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


@contextmanager
def _private(destination: Path) -> Iterator[Path]:
    """A name inside a private folder beside the destination. The lock on the folder tells others that we live."""
    holder = destination.with_name(_private_name(destination, _PART))
    with ExitStack() as stack:
        with _locked(destination.parent):  # or `recover` of another would find it before we hold it
            holder.mkdir()
            stack.callback(_remove, holder)
            stack.enter_context(_held(holder))
        yield holder / "content"


def _private_name(destination: Path, kind: str) -> str:
    return f"{PRIVATE}-{kind}-{destination.name[:150]}-{secrets.token_hex(6)}"


def _siblings(destination: Path, kind: str) -> list[Path]:
    head = f"{PRIVATE}-{kind}-{destination.name[:150]}-"
    names = [p for p in destination.parent.iterdir() if p.name.startswith(head)] if destination.parent.is_dir() else []
    return [path for path in names if len(path.name) == len(head) + 12]


def _bring(source: Path, part: Path) -> None:
    """Move the source to the private name, by copying where it lies on another file system, and sync every byte."""
    if os.lstat(source).st_dev == os.lstat(part.parent).st_dev:
        _sync_tree(source)
        source.rename(part)
    else:
        if source.is_dir() and not source.is_symlink():
            _copy_tree(source, part)
        else:
            shutil.copy2(source, part, follow_symlinks=False)
        _sync_tree(part)
    sync_folder(part.parent)


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a folder and end at the first failure, with that failure.

    `shutil.copytree` would go on to the end, and its Error has lost the number that tells a full disk from a broken one.
    """
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _copy_tree(source / entry.name, target / entry.name)
            else:
                shutil.copy2(entry.path, target / entry.name, follow_symlinks=False)
    shutil.copystat(source, target)


def _place(part: Path, destination: Path, *, overwrite: bool) -> None:
    folder = destination.parent
    if overwrite and os.path.lexists(destination):
        _replace(part, destination)
    else:
        if _empty_folder(destination):
            destination.rmdir()
        _appear(part, destination)
    sync_folder(folder)


def _appear(part: Path, destination: Path) -> None:
    """Rename where nothing may be lost."""
    try:
        rename_with(RENAME_NOREPLACE, part, destination)
    except FileExistsError:
        raise DestinationExists(f"cannot publish {destination}: it appeared while this output was made") from None
    except NotSupported:
        _refuse_existing(destination)  # the lock on the folder keeps other publishers out meanwhile
        part.rename(destination)


def _replace(part: Path, destination: Path) -> None:
    """Put the new in the place of the old; the old ends under a private name, and is removed with it."""
    try:
        rename_with(RENAME_EXCHANGE, part, destination)
    except NotSupported:
        old = destination.with_name(_private_name(destination, _OLD))
        destination.rename(old)
        try:
            part.rename(destination)
        except BaseException:
            old.rename(destination)
            raise
        sync_folder(destination.parent)  # the new name must be durable before the old bytes go
        _remove(old)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One publisher at a time renames in a folder. The lock goes with its process, so a crash leaves none."""
    with _descriptor(folder) as descriptor:
        if descriptor is not None:
            with suppress(OSError):  # some network file systems have no locks; the renames are atomic all the same
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _held(holder: Path) -> Iterator[bool]:
    """Hold a private folder; False when another process does."""
    with _descriptor(holder) as descriptor:
        if descriptor is None:
            yield False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


@contextmanager
def _descriptor(folder: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_tree(path: Path) -> None:
    if path.is_symlink():
        return
    if path.is_file():
        sync_file(path)
        return
    for directory, _, files in os.walk(path, topdown=False):
        for name in files:
            file = Path(directory, name)
            if file.is_file() and not file.is_symlink():
                sync_file(file)
        sync_folder(Path(directory))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
