"""Bringing a PostgreSQL schema up to date."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from millrace.domain.masters import TERM_S
from millrace.store.migrate import Migration, load_migrations, may_run, missing, refuse_newer
from millrace.store.postgres.connection import QUERIES

PACKAGE = "millrace.store.postgres"


async def migrate(connection: Any) -> None:
    """Run what is missing, each migration in a transaction of its own, under a lock: masters may start at once.

    What takes away waits for the start of a master when no other lives that does not know it.

    Raises:
        SchemaTooNewError: a newer Millrace wrote the database.
    """
    async with connection.transaction():
        await connection.fetch(QUERIES["lock_migrations"])
        await connection.execute(QUERIES["make_migrations"])
    while await _step(connection):
        pass


async def migrate_to(connection: Any, version: int, *, without: Container[int]) -> None:
    """Make the schema of that version in an empty database, within the transaction that is open.

    Raises:
        SchemaTooNewError: it is one that this program does not know.
    """
    known = load_migrations(PACKAGE)
    refuse_newer(version, known)
    await connection.execute(QUERIES["make_migrations"])
    for migration in missing({}, known):
        if migration.version <= version and migration.version not in without:
            await _run(connection, migration)


async def _step(connection: Any) -> bool:
    """Run the first missing migration that may run; whether there was one."""
    async with connection.transaction():
        await connection.fetch(QUERIES["lock_migrations"])
        todo = missing(await applied(connection), load_migrations(PACKAGE))
        if not todo or not may_run(todo[0], await _others(connection) if todo[0].takes_away else ()):
            return False
        await _run(connection, todo[0])
        return True


async def applied(connection: Any) -> Mapping[int, str]:
    """What has run on a database: name by version."""
    return {row["version"]: row["name"] for row in await connection.fetch(QUERIES["applied_migrations"])}


async def _others(connection: Any) -> Sequence[int]:
    """The newest migration that each living master knows; none can come meanwhile, and whoever comes after it looks again."""
    await connection.execute(QUERIES["lock_masters"])
    return [row["knows"] for row in await connection.fetch(QUERIES["known_by_masters"], round(TERM_S * 1000))]


async def _run(connection: Any, migration: Migration) -> None:
    for statement in migration.statements:
        await connection.execute(statement)
    await connection.execute(QUERIES["note_migration"], migration.version, migration.name)
