"""Bringing a PostgreSQL schema up to date."""

from typing import Any

from millrace.store.migrate import Migration, load_migrations, missing
from millrace.store.postgres.connection import QUERIES

PACKAGE = "millrace.store.postgres"


async def migrate(connection: Any) -> None:
    """Run what is missing, each migration in a transaction of its own, under a lock: masters may start at once.

    Raises:
        SchemaTooNewError: a newer Millrace wrote the database.
    """
    async with connection.transaction():
        await connection.fetch(QUERIES["lock_migrations"])
        await connection.execute(QUERIES["make_migrations"])
    while await _step(connection):
        pass


async def migrate_to(connection: Any, version: int) -> None:
    """Make the schema of that version in an empty database, within the transaction that is open."""
    await connection.execute(QUERIES["make_migrations"])
    for migration in load_migrations(PACKAGE)[:version]:
        await _run(connection, migration)


async def _step(connection: Any) -> bool:
    """Run the first missing migration; whether there was one."""
    async with connection.transaction():
        await connection.fetch(QUERIES["lock_migrations"])
        applied = [row[0] for row in await connection.fetch(QUERIES["applied_migrations"])]
        todo = missing(applied, load_migrations(PACKAGE))
        if todo:
            await _run(connection, todo[0])
        return bool(todo)


async def _run(connection: Any, migration: Migration) -> None:
    for statement in migration.statements:
        await connection.execute(statement)
    await connection.execute(QUERIES["note_migration"], migration.version, migration.name)
