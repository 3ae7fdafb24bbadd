"""From a URL or a path to a store. The driver of the other database is never imported."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from millrace.store.store import Store, StoreError

Clock = Callable[[], datetime]
"""Gives the present moment as an aware datetime."""


def open_store(url_or_path: str | Path, *, clock: Clock | None = None) -> Store:
    """A store that still has to be started.

    Args:
        url_or_path: ``postgresql://...``, or the path of an embedded database, with or without ``sqlite:`` before it.
        clock: the time of an embedded database; the system's by default. PostgreSQL has its own.
    """
    text = str(url_or_path)
    if text.startswith(("postgresql://", "postgres://")):
        raise StoreError("cannot open PostgreSQL: its driver is not there yet")
    from millrace.store.sqlite.driver import SqliteStore  # noqa: PLC0415  imported only where it is used

    return SqliteStore(Path(text.removeprefix("sqlite:")), clock=clock or _system_time)


def _system_time() -> datetime:
    return datetime.now(UTC)
