"""A copy of an embedded database, page by page while a master writes to it."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from millrace.runtime.hold import HeldError, Hold
from millrace.runtime.no_space import NO_SPACE
from millrace.store.backup import DatabaseCopy
from millrace.store.migrate import load_migrations, refuse_newer, waiting
from millrace.store.sqlite.connection import QUERIES, meaning_of, open_connection
from millrace.store.sqlite.schema import PACKAGE, applied
from millrace.store.store import StoreBusyError, StoreError, StoreFullError, StoreUnavailableError

T = TypeVar("T")
FILE = "millrace.db"
KIND = "sqlite"


class SqliteCopier:
    """See Copier."""

    def __init__(self, path: Path) -> None:
        """`path` is the database."""
        self._path = path

    async def save(self, folder: Path) -> DatabaseCopy:
        """See Copier."""
        return await self._aside(lambda: self._save(folder / FILE), folder / FILE)

    async def load(self, folder: Path, copy: DatabaseCopy) -> None:
        """See Copier."""
        refuse_newer(copy.schema, load_migrations(PACKAGE))
        await self._aside(lambda: self._load(folder / FILE), self._path)

    async def check_new(self) -> None:
        """See Copier."""
        self._check_new()

    def _check_new(self) -> None:
        if self._path.exists():
            raise StoreBusyError(
                f"cannot restore to {self._path}: there is a database already; name another data folder, or move it away"
            )

    async def _aside(self, work: Callable[[], T], written: Path) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(None, work)
        except apsw.Error as error:
            raise meaning_of(error, written) or StoreError(f"cannot copy to {written}: {error}") from error

    def _save(self, target: Path) -> DatabaseCopy:
        if not self._path.is_file():
            raise StoreError(f"cannot copy {self._path}: there is no such database; name its data folder with --data")
        with (
            _closed(open_connection(self._path, readonly=True)) as source,
            _closed(apsw.Connection(str(target))) as made,
        ):
            # All pages in one step: the copy is of one moment, and a master goes on writing to its log meanwhile.
            with made.backup("main", source, "main") as backup:
                backup.step()
            made.execute("PRAGMA journal_mode = DELETE")  # one file, and nothing beside it
            _check(made, target)
            done, jobs = applied(made), _number(made, "count_all_jobs")
        _sync(target)
        return DatabaseCopy(kind=KIND, schema=max(done), waiting=waiting(done), jobs=jobs, files=(FILE,))

    def _load(self, source: Path) -> None:
        with self._held():
            self._check_new()
            part = self._path.with_name(self._path.name + ".part")
            try:
                shutil.copyfile(source, part)
                with _closed(apsw.Connection(str(part))) as made:
                    _check(made, source)
                    with made:
                        for name in ("fence_nodes", "part_events"):
                            made.execute(QUERIES[name])
                _sync(part)
                part.rename(self._path)
                _sync(self._path.parent)
            except OSError as error:
                kind = StoreFullError if error.errno in NO_SPACE else StoreUnavailableError
                raise kind(f"cannot restore to {self._path}: {error.strerror or error}") from error
            finally:
                part.unlink(missing_ok=True)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """As a master holds it, so that none begins meanwhile."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            hold = Hold.take(self._path.with_name(self._path.name + ".pid"))
        except HeldError as error:
            raise StoreBusyError(f"cannot restore to {self._path}: {error}; stop that one first") from error
        except OSError as error:
            raise StoreUnavailableError(f"cannot restore to {self._path}: {error.strerror or error}") from error
        try:
            yield
        finally:
            hold.release()


@contextmanager
def _closed(connection: apsw.Connection) -> Iterator[apsw.Connection]:
    try:
        yield connection
    finally:
        connection.close()


def _number(connection: apsw.Connection, name: str) -> int:
    found: Any = connection.execute(QUERIES[name]).get
    return int(found)


def _check(connection: apsw.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA integrity_check(1)").get
    if found != "ok":
        raise StoreUnavailableError(f"cannot use the copy {path}: it is damaged ({found}); make or take another one")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
