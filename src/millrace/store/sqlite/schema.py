"""Bringing an embedded database's schema up to date."""

from collections.abc import Callable, Mapping

import apsw

from millrace.store.migrate import Migration, load_migrations, missing
from millrace.store.sqlite.connection import QUERIES

PACKAGE = "millrace.store.sqlite"


def migrate(connection: apsw.Connection, now_ms: Callable[[], int]) -> None:
    """Run what is missing, each migration in a transaction of its own. One master at a time has the database, so none waits.

    Raises:
        SchemaTooNewError: a newer Millrace wrote the database.
    """
    connection.execute(QUERIES["make_migrations"])
    for migration in missing(applied(connection), load_migrations(PACKAGE)):
        _run(connection, migration, now_ms())


def applied(connection: apsw.Connection) -> Mapping[int, str]:
    """What has run on a database: name by version."""
    return dict(connection.execute(QUERIES["applied_migrations"]))


def _run(connection: apsw.Connection, migration: Migration, now_ms: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in migration.statements:
            connection.execute(statement)
        connection.execute(QUERIES["note_migration"], (migration.version, migration.name, now_ms))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
