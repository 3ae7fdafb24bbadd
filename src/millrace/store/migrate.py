"""Numbered migrations: which there are, and which a database still lacks.

A driver runs each migration and the note that it ran in ONE transaction, under a lock, so that a kill at any statement
leaves the database as it was before that migration, and the next start resumes there.

Masters of two versions work on one database while a farm is upgraded. So a migration only adds, and whatever knew the
database before still works on it; or its name begins with `post_`, it takes away what is used no more, and it runs when no
master lives that does not know it (docs/decisions/0039-upgrades.md).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
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

    @property
    def takes_away(self) -> bool:
        """Whether masters that do not know it cannot work on the database after it."""
        return _takes_away(self.name)


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


def missing(applied: Mapping[int, str], known: Sequence[Migration]) -> Sequence[Migration]:
    """The migrations to run, in this order: those that add, then those that take away.

    Args:
        applied: name by version of those that have run on this database.
        known: those of this program.

    Raises:
        SchemaTooNewError: the database has one that takes away, and that this program does not know.
    """
    newest = newest_of(known)
    refuse_newer(max((v for v, name in applied.items() if v > newest and _takes_away(name)), default=0), known)
    return sorted((one for one in known if one.version not in applied), key=lambda one: (one.takes_away, one.version))


def refuse_newer(version: int, known: Sequence[Migration]) -> None:
    """Raise SchemaTooNewError where this program does not know a version that it has to."""
    if version > newest_of(known):
        raise SchemaTooNewError(
            f"cannot open the database: its schema has version {version} and this Millrace knows versions up to "
            f"{newest_of(known)}; upgrade Millrace"
        )


def may_run(migration: Migration, others: Iterable[int]) -> bool:
    """Whether it leaves all other masters that live able to work; `others` are the newest versions that each knows."""
    return not migration.takes_away or all(newest >= migration.version for newest in others)


def waiting(applied: Iterable[int]) -> tuple[int, ...]:
    """The versions below the newest that have not run."""
    return tuple(sorted(set(range(1, max(applied, default=0))).difference(applied)))


def newest_of(known: Sequence[Migration]) -> int:
    """The version of the last one; 0 where there is none."""
    return known[-1].version if known else 0


def _takes_away(name: str) -> bool:
    return name.startswith("post_")
