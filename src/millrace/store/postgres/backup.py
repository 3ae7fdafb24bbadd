"""A copy of a database in PostgreSQL: every table as text, all of them as of one moment."""

import os
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import asyncpg

from millrace.store.backup import DatabaseCopy
from millrace.store.migrate import load_migrations, refuse_newer, waiting
from millrace.store.postgres.connect import PATIENT_SETTINGS, connect
from millrace.store.postgres.connection import QUERIES
from millrace.store.postgres.errors import meaning_of
from millrace.store.postgres.schema import PACKAGE, applied, migrate_to
from millrace.store.store import StoreBusyError, StoreError

KIND = "postgresql"
_PATIENT = PATIENT_SETTINGS | {"enable_seqscan": "on"}
"""A table may take longer than any request."""


class PostgresCopier:
    """See Copier."""

    def __init__(self, url: str) -> None:
        """`url` names the database."""
        self._url = url

    async def save(self, folder: Path) -> DatabaseCopy:
        """See Copier."""
        connection = await connect(self._url, _PATIENT)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                if await connection.fetchval(QUERIES["is_fresh"]):
                    raise StoreError("cannot copy this database: there is no farm in it; look at the name in its URL")
                files = [await self._save_table(connection, table, folder) for table in await _tables(connection)]
                done = await applied(connection)
                jobs = await connection.fetchval(QUERIES["count_all_jobs"])
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise meaning_of(error) or error from error
        finally:
            await connection.close()
        return DatabaseCopy(kind=KIND, schema=max(done), waiting=waiting(done), jobs=jobs, files=tuple(files))

    @staticmethod
    async def _save_table(connection: Any, table: Any, folder: Path) -> str:
        name = f"{table['name']}.copy"
        with (folder / name).open("wb") as file:
            # The first line names the columns, for a schema may give them another order.
            file.write(",".join(table["columns"]).encode() + b"\n")
            await connection.copy_from_table(table["name"], columns=table["columns"], output=file, timeout=None)
            file.flush()
            os.fsync(file.fileno())
        return name

    async def check_new(self) -> None:
        """See Copier."""
        connection = await connect(self._url, _PATIENT)
        try:
            await _check_new(connection)
        finally:
            await connection.close()

    async def load(self, folder: Path, copy: DatabaseCopy) -> None:
        """See Copier."""
        refuse_newer(copy.schema, load_migrations(PACKAGE))
        connection = await connect(self._url, _PATIENT)
        try:
            async with connection.transaction():
                await connection.fetch(QUERIES["lock_migrations"])
                await _check_new(connection)
                await migrate_to(connection, copy.schema, without=copy.waiting)
                names = {f"{table['name']}.copy": table["name"] for table in await _tables(connection)}
                for file in sorted(copy.files, key=list(names).index):
                    await self._load_table(connection, names[file], folder / file)
                for column in await connection.fetch(QUERIES["numbered_columns"]):
                    await _go_on_counting(connection, column["name"], column["column"])
                for name in ("fence_nodes", "part_events"):
                    await connection.execute(QUERIES[name])
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise meaning_of(error) or error from error
        finally:
            await connection.close()

    @staticmethod
    async def _load_table(connection: Any, table: str, path: Path) -> None:
        with path.open("rb") as file:
            columns = file.readline().decode().strip().split(",")
            await connection.execute(f'DELETE FROM "{table}"')  # noqa: S608  the rows that a migration puts there are in the copy, too
            await connection.copy_to_table(table, columns=columns, source=file, timeout=None)


async def _check_new(connection: Any) -> None:
    if not await connection.fetchval(QUERIES["is_fresh"]):
        raise StoreBusyError(
            "cannot restore to this database: there is a farm in it already; make a new database for it"
        )


async def _tables(connection: Any) -> list[Any]:
    """Those with columns, each behind what it refers to."""
    found = {row["name"]: row for row in await connection.fetch(QUERIES["tables_and_columns"])}
    order = TopologicalSorter({name: row["behind"] for name, row in found.items()}).static_order()
    return [found[name] for name in order]


async def _go_on_counting(connection: Any, table: str, column: str) -> None:
    last = await connection.fetchval(f'SELECT max("{column}") FROM "{table}"')  # noqa: S608  names of our own schema
    if last is not None:
        await connection.fetchval("SELECT setval(pg_get_serial_sequence($1, $2), $3)", table, column, last)
