"""One connection to the embedded database: how it is opened, how named SQL runs on it, what its errors mean."""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw

from millrace.domain.tenants import Quotas, Use
from millrace.domain.turns import Turn
from millrace.store.queries import load_queries
from millrace.store.rows import to_datetime
from millrace.store.store import StoreBrokenError, StoreError, StoreFullError, StoreUnavailableError

QUERIES = load_queries("millrace.store.sqlite")
MINIMUM_SQLITE = (3, 51, 3)
"""Older ones can corrupt a WAL database when two connections checkpoint (https://sqlite.org/wal.html#walresetbug)."""

Rows = list[tuple[Any, ...]]

LOG_BYTES = 256 << 20
"""The log grows while somebody reads for long, and is cut to this when it begins anew; SQLite would leave it as long as it was."""

_PRAGMAS = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -65536",
)


def open_connection(path: Path, *, readonly: bool, vfs: str | None = None) -> apsw.Connection:
    """Open the file with write-ahead log and, for the writer, a real fsync for every commit.

    Raises:
        StoreError: the SQLite library is too old to be trusted.
    """
    if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < MINIMUM_SQLITE:
        raise StoreError(f"cannot use SQLite {apsw.sqlite_lib_version()}: 3.51.3 or newer is needed; upgrade apsw")
    flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(str(path), flags=flags, vfs=vfs, statementcachesize=200)
    # A bound value never changes a plan. Otherwise each binding of a value that a partial index might care about has its
    # statement prepared anew, which takes longer than most of them run (https://sqlite.org/c3ref/c_dbconfig_defensive.html#sqlitedbconfigenableqpsg).
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    if not readonly:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    return connection


def no_space(path: Path) -> StoreFullError:
    """The error for a disk, or a quota, that is full."""
    return StoreFullError(f"cannot write to {path}: no space is left; free some and try again")


def meaning_of(error: apsw.Error, path: Path) -> StoreError | None:
    """The store's error for SQLite's; None where it is a fault of ours, such as a broken constraint."""
    # The index of the log is a file that grows on its own; that there is no space for it has a code of its own.
    if isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
        return no_space(path)
    if isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError | apsw.CantOpenError | apsw.ReadOnlyError):
        return StoreBrokenError(f"cannot use the database {path}: {error}; look at the disk, then start again")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreUnavailableError(f"cannot use the database {path}: another program locks it; close that program")
    return None


class Session:
    """Named SQL on a connection within one transaction, whose time stands still at `now_ms`."""

    __slots__ = (
        "_connection", "_execute", "_sql", "changed", "counted", "dry", "heads", "lanes", "lines", "now", "now_ms", "queued",
        "weights",
    )  # fmt: skip

    def __init__(self, connection: apsw.Connection, now_ms: int, sql: Mapping[str, str] = QUERIES) -> None:
        self._connection = connection
        # One cursor for all statements: to make one, as the connection itself does for each, takes as long as a small one.
        self._execute = connection.cursor().execute
        self._sql = sql
        self.now_ms = now_ms
        self.now = to_datetime(now_ms)
        self.changed = False  # whether transitions were added
        self.queued: set[int] = set()  # classes of tasks that became runnable
        self.heads: dict[tuple[int, str], deque[tuple[Any, ...]]] = {}  # what claims have read of each class and lane
        self.dry: set[tuple[int, str]] = set()  # classes and lanes of which there is no more than was read
        self.lanes: dict[str, int | None] | None = None  # those that tasks may be taken from, as far as it was read
        self.counted: dict[str, tuple[Quotas, Use] | None] = {}  # tenants that were looked up
        self.weights: dict[str, int] | None = None  # of tenants, as far as it was read
        self.lines: dict[tuple[int, int], Turn | None] = {}  # the newest turn of lines that were looked up

    def all(self, name: str, *args: object) -> Rows:
        """Every row of a named statement."""
        return self._execute(self._sql[name], args).fetchall()

    def one(self, name: str, *args: object) -> tuple[Any, ...] | None:
        """The only row of a named statement, or None."""
        # An unfinished RETURNING would keep the write lock, so all rows are fetched.
        rows = self._execute(self._sql[name], args).fetchall()
        return rows[0] if rows else None

    def run(self, name: str, *args: object) -> None:
        """A named statement without rows."""
        self._execute(self._sql[name], args)

    def changed_rows(self, name: str, *args: object) -> int:
        """How many rows a named statement without RETURNING changed."""
        self._execute(self._sql[name], args)
        return self._connection.changes()

    def queue(self, class_id: int) -> None:
        """Note that a task of this class became runnable."""
        self.queued.add(class_id)
        # A claim later in this transaction reads the class anew.
        for key in [key for key in self.heads if key[0] == class_id]:
            del self.heads[key]
            self.dry.discard(key)

    def insert(self, name: str, *args: object) -> int:
        """A named INSERT of one row; returns its number."""
        self._execute(self._sql[name], args)
        return self._connection.last_insert_rowid()

    def all_of(self, sql: str, *args: object) -> Rows:
        """Every row of a statement that was put together from named blocks."""
        return self._execute(sql, args).fetchall()
