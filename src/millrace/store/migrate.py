"""Numbered migrations: which there are, and which a database still lacks.

A driver runs each migration and the note that it ran in ONE transaction, under a lock, so that a kill at any statement
leaves the database as it was before that migration, and the next start resumes there.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache

from msgspec import Struct

from millrace.store.queries import folder_of
from millrace.store.store import SchemaTooNewError

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(Struct, frozen=True, kw_only=True):
    """One step of the schema. `version` counts from 1 without a gap."""

    version: int
    name: str
    statements: tuple[str, ...]


def split_statements(text: str) -> tuple[str, ...]:
    """The statements of a file, each of which ends with a semicolon at the end of a line; comments are dropped."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    parts = re.split(r";[ \t]*$", "\n".join(lines), flags=re.MULTILINE)
    return tuple(part.strip() for part in parts if part.strip())


@cache
def load_migrations(package: str) -> tuple[Migration, ...]:
    """The migrations in a package such as ``millrace.store.sqlite``, in order.

    Raises:
        ValueError: the numbers have a gap.
    """
    found = []
    for entry in (folder_of(package) / "migrations").iterdir():
        if match := _FILE.fullmatch(entry.name):
            statements = split_statements(entry.read_text(encoding="utf-8"))
            found.append(Migration(version=int(match[1]), name=match[2], statements=statements))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"cannot migrate: the numbers of the migrations of {package} have a gap")
    return tuple(found)


def missing(applied: Iterable[int], known: Sequence[Migration]) -> Sequence[Migration]:
    """The migrations to run now.

    Raises:
        SchemaTooNewError: the database has one that this program does not know.
    """
    present = max(applied, default=0)
    newest = known[-1].version if known else 0
    if present > newest:
        raise SchemaTooNewError(
            f"cannot open the database: its schema has version {present} and this Millrace knows versions up to "
            f"{newest}; upgrade Millrace"
        )
    return known[present:]
