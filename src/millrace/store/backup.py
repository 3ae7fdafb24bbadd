"""A copy of a whole database in a folder: made while masters go on, and put into a database that is new.

What the farm gave out after the copy was made is forgotten by it. So whoever takes a copy in moves every node to an epoch
that was never given out: what workers still hold from before is refused, and they register again.
"""

from pathlib import Path
from typing import Protocol

from msgspec import Struct


class DatabaseCopy(Struct, frozen=True, kw_only=True):
    """What a copy holds: the kind of database, the version of its schema, how many jobs, and its files by name.

    `waiting` are the versions below that have not run, as masters that need what they take away lived then.
    """

    kind: str
    schema: int
    waiting: tuple[int, ...] = ()
    jobs: int
    files: tuple[str, ...]


class Copier(Protocol):
    """One kind of database. Every call may raise a StoreError."""

    async def save(self, folder: Path) -> DatabaseCopy:
        """Write a copy as of one moment into an empty folder, durably."""
        ...

    async def check_new(self) -> None:
        """Pass where a copy could be taken in.

        Raises:
            StoreBusyError: there is a farm already.
        """
        ...

    async def load(self, folder: Path, copy: DatabaseCopy) -> None:
        """Put a copy into a database that does not exist or is empty: all of it, or nothing.

        Raises:
            StoreBusyError: there is a farm in it already, or a master runs on it.
            SchemaTooNewError: a newer Millrace made the copy.
        """
        ...
