"""What the store held in the end, in a SQLite in memory, so that one checker asks it whatever the store was."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from sim.ledger import NEWS, NODES, KnownNode, Ledger, Moved

_JOBS_OF_SERVER = (
    "SELECT j.*, CASE WHEN t.split IS NOT NULL AND t.state IN ('pending', 'queued', 'assigned') THEN 'processing' "
    "ELSE t.state END AS state, t.finished_at FROM jobs j LEFT JOIN tasks t ON t.job = j.number AND t.position = 1"
)
"""There a job's state stands with its lead task alone."""
TABLES = ("jobs", "tasks", "attempts", "transitions", "nodes", "outputs")


class Evidence:
    """A copy of those tables."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:")

    def read(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of a question."""
        return self._connection.execute(sql, values).fetchall()

    def _keep(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
        self._connection.execute(f"CREATE TABLE {table} ({names})")
        self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    @classmethod
    def of_file(cls, path: Path, fail: Callable[[str, str], None]) -> "Evidence":
        """Of the embedded store; `fail` hears where the file is damaged."""
        evidence = cls()
        source = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            (found,) = source.execute("PRAGMA integrity_check").fetchone()
            if found != "ok":
                fail("I28", f"the database is damaged: {found}")
            for table in TABLES:
                cursor = source.execute(f"SELECT * FROM {table}")
                evidence._keep(table, [column[0] for column in cursor.description], cursor.fetchall())
        finally:
            source.close()
        return evidence

    @classmethod
    async def of_server(cls, url: str) -> "Evidence":
        """Of PostgreSQL."""
        evidence = cls()
        connection = await asyncpg.connect(url)
        try:
            for table in TABLES:
                statement = await connection.prepare(_JOBS_OF_SERVER if table == "jobs" else f"SELECT * FROM {table}")
                columns = [attribute.name for attribute in statement.get_attributes()]
                evidence._keep(table, columns, [tuple(map(_plain, row)) for row in await statement.fetch()])
        finally:
            await connection.close()
        return evidence


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, int | float | str | bytes) else str(value)


class Replayed(Ledger):
    """The history read at its end: under which epoch a node was given a task, nobody can tell any more."""

    def epoch_of(self, node: str) -> int | None:
        """Unknown."""
        return None


def replay(evidence: Evidence, fail: Callable[[str, str], None]) -> Ledger:
    """Fold the whole history, and compare it with the rows."""
    ledger = Replayed(evidence.read, fail, lambda: 0.0)
    ledger.nodes = {row[0]: KnownNode(*row) for row in evidence.read(NODES)}
    for row in evidence.read(NEWS, 0):
        ledger.take(Moved(*row))
    for task in ledger.tasks.values():
        ledger.compare(task)
    return ledger
