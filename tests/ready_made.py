"""Databases that are migrated once and then copied: to migrate one for each test takes most of its time.

The migrations have tests of their own (`contract/test_store_schema.py`), and programs that are started by tests migrate their own.
"""

import tempfile
from functools import cache
from pathlib import Path

from millrace.store.sqlite.connection import open_connection
from millrace.store.sqlite.schema import migrate


@cache
def sqlite_file() -> bytes:
    """An empty embedded database of today's schema."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "farm.db"
        connection = open_connection(path, readonly=False)
        migrate(connection, lambda: 0)
        connection.close()
        return path.read_bytes()


def put_sqlite(path: Path) -> Path:
    """Put one there, where none is; its path."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sqlite_file())
    return path
