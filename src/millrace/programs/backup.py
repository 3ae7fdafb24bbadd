"""A farm in a folder: its database, its key, and the files that its master keeps; and back.

TARGET/manifest.json   what there is, with sizes and checksums; it is written last
TARGET/database/...    as the kind of database keeps it (`store.backup`)
TARGET/files/...       uploads and kept outputs, by their names in the blob store
TARGET/api-key         the key of the data folder, where there is one
TARGET/ca.pem, ca.key  the farm's own authority, where there is one
"""

import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

import millrace
from millrace.api.places import CACHE
from millrace.blobs.disk import sync_folder
from millrace.blobs.local import LocalBlobs
from millrace.blobs.location import open_blobs
from millrace.blobs.values import BlobMissing, Blobs
from millrace.config.errors import SettingError
from millrace.config.settings import MasterSettings
from millrace.programs import api_key, private_file
from millrace.programs.http.own_tls import AUTHORITY, AUTHORITY_KEY, FOLDER
from millrace.programs.master import BLOBS, DATABASE
from millrace.store.backup import Copier, DatabaseCopy
from millrace.store.open import copier_for, is_server

FORMAT = 1
MANIFEST = "manifest.json"
_DATABASE, _FILES = "database", "files"
_SECRETS = (Path(api_key.FILE), Path(FOLDER, AUTHORITY), Path(FOLDER, AUTHORITY_KEY))
"""By their place in the data folder; in a backup they stand side by side."""


class Kept(Struct, frozen=True, kw_only=True):
    """One file of a backup."""

    name: str
    size: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a backup holds. `database_files` are those of `database`, `files` those of the blob store."""

    format: int
    millrace: str
    made: datetime
    database: DatabaseCopy
    database_files: tuple[Kept, ...]
    files: tuple[Kept, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(kept.size for kept in (*self.database_files, *self.files))


async def back_up(settings: MasterSettings, target: Path, *, files: bool) -> Manifest:
    """Make a backup in a new folder, while masters run; a backup that is not whole never bears that name.

    Raises:
        SettingError: the folder is there already.
        StoreError: the database cannot be read, or the copy not be written.
        BlobError: a file cannot be read or written.
    """
    part = _begun(target)
    try:
        # The database first: what it names is still there when the files are copied, or was forgotten since.
        database = await _copier(settings).save(part / _DATABASE)
        for name in _SECRETS:
            if (secret := settings.data / name).is_file():
                private_file.replace(part / name.name, secret.read_bytes())
        kept = [one async for one in _copied(_blobs(settings), LocalBlobs(part / _FILES))] if files else []
        manifest = Manifest(
            format=FORMAT,
            millrace=millrace.__version__,
            made=datetime.now(UTC).replace(microsecond=0),
            database=database,
            database_files=tuple(_facts(part / _DATABASE, name) for name in database.files),
            files=tuple(kept),
        )
        _finish(part, manifest, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return manifest


async def restore(settings: MasterSettings, source: Path) -> Manifest:
    """Make a farm of a backup, where there is none yet. The database comes last: before it nothing has begun.

    Raises:
        SettingError: this is no backup, or one for another kind of database.
        StoreBusyError: there is a farm already, or a master runs.
        StoreError: the copy is damaged, or the database cannot be written.
        BlobError: a file cannot be read or written, or is not what it was.
    """
    manifest = _read(source)
    if is_server(settings.store) != (manifest.database.kind != "sqlite"):
        raise SettingError(
            f"cannot restore {source}: it is of a farm on {manifest.database.kind}; "
            + ("leave out --store" if is_server(settings.store) else "name the new database with --store")
        )
    for kept in manifest.database_files:
        if _facts(source / _DATABASE, kept.name) != kept:
            raise SettingError(
                f"cannot restore {source}: {_DATABASE}/{kept.name} is not what was saved; take another backup"
            )
    copier = _copier(settings)
    await copier.check_new()
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = {one.name: one async for one in _copied(LocalBlobs(source / _FILES), _blobs(settings))}
    for kept in manifest.files:
        if found.get(kept.name) != kept:
            raise SettingError(
                f"cannot restore {source}: {_FILES}/{kept.name} is not what was saved; take another backup"
            )
    for name in _SECRETS:
        if (source / name.name).is_file() and not (settings.data / name).exists():
            (settings.data / name).parent.mkdir(mode=0o700, exist_ok=True)
            private_file.replace(settings.data / name, (source / name.name).read_bytes())
    await copier.load(source / _DATABASE, manifest.database)
    return manifest


def _begun(target: Path) -> Path:
    """A private folder beside the wanted one."""
    if target.exists():
        raise SettingError(f"cannot back up to {target}: it exists already; name a new folder")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    part.mkdir(parents=True, mode=0o700)
    (part / _DATABASE).mkdir()
    return part


def _finish(part: Path, manifest: Manifest, target: Path) -> None:
    """Write the manifest, and give the folder its name when all of it is on the disk."""
    with (part / MANIFEST).open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        file.flush()
        os.fsync(file.fileno())
    for folder in (part / _DATABASE, part):
        sync_folder(folder)
    part.rename(target)
    sync_folder(target.parent)


def _read(source: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise SettingError(
            f"cannot restore {source}: it is no backup ({MANIFEST}: {error.strerror}); name the folder"
        ) from error
    except msgspec.MsgspecError as error:
        raise SettingError(f"cannot restore {source}: its {MANIFEST} is damaged: {error}") from error
    if manifest.format > FORMAT:
        raise SettingError(f"cannot restore {source}: a newer Millrace ({manifest.millrace}) made it; upgrade this one")
    return manifest


def _copier(settings: MasterSettings) -> Copier:
    return copier_for(settings.store or settings.data / DATABASE)


def _blobs(settings: MasterSettings) -> Blobs:
    return open_blobs(settings.blobs or settings.data / BLOBS, environ=os.environ)


async def _copied(source: Blobs, target: Blobs) -> AsyncIterator[Kept]:
    """Every file of one place, when it is in the other. What a running master deletes meanwhile is left out, and what can be made again."""
    async for info in source.list():
        if info.key.startswith(f"{CACHE}/"):
            continue
        try:
            stored = await target.put(info.key, source.get(info.key))
        except BlobMissing:
            continue
        yield Kept(name=info.key, size=stored.size_bytes, sha256=stored.sha256)


def _facts(folder: Path, name: str) -> Kept:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        return Kept(name=name, size=-1, sha256="")
    with path.open("rb") as file:
        return Kept(name=name, size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())
