"""From a URL or a path to a store. The driver of the other database is never imported."""

from collections.abc import Callable
from pathlib import Path

from millrace.runtime.clock import Clock, SystemClock
from millrace.store.backup import Copier
from millrace.store.store import Store, StoreBrokenError


def is_server(url_or_path: str | Path) -> bool:
    """Whether this names a PostgreSQL, and not the file of an embedded database."""
    return str(url_or_path).startswith(("postgresql://", "postgres://"))


CONNECTIONS = 8
"""To PostgreSQL, of one master, where nobody says otherwise."""


def open_store(
    url_or_path: str | Path,
    *,
    clock: Clock | None = None,
    connections: int = CONNECTIONS,
    may_lose: bool = False,
    on_broken: Callable[[StoreBrokenError], None] = lambda _: None,
) -> Store:
    """A store that still has to be started.

    Args:
        url_or_path: ``postgresql://...``, or the path of an embedded database, with or without ``sqlite:`` before it.
        clock: the time of an embedded database, and what PostgreSQL's driver waits on; the system's by default.
            The time in PostgreSQL's records is always PostgreSQL's.
        connections: to PostgreSQL, at the most, the one that listens among them.
        may_lose: use a PostgreSQL although a fail-over may lose, or has lost, what was answered as done.
        on_broken: called once an embedded database cannot be trusted any more; a server ends by itself then.
    """
    text = str(url_or_path)
    if is_server(text):
        from millrace.store.postgres.driver import PostgresStore  # noqa: PLC0415  imported only where it is used

        return PostgresStore(text, clock=clock or SystemClock(), connections=connections, may_lose=may_lose)
    from millrace.store.sqlite.driver import SqliteStore  # noqa: PLC0415  imported only where it is used

    return SqliteStore(Path(text.removeprefix("sqlite:")), clock=clock or SystemClock(), on_broken=on_broken)


def copier_for(url_or_path: str | Path) -> Copier:
    """What copies a database that `open_store` would open."""
    text = str(url_or_path)
    if is_server(text):
        from millrace.store.postgres.backup import PostgresCopier  # noqa: PLC0415  imported only where it is used

        return PostgresCopier(text)
    from millrace.store.sqlite.backup import SqliteCopier  # noqa: PLC0415  imported only where it is used

    return SqliteCopier(Path(text.removeprefix("sqlite:")))
