"""What a planted bug is."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

import millrace.scheduler.duties
from millrace.store.sqlite.connection import QUERIES, Session

Patches = list[tuple[Any, str, object]]


class Bug(Struct, frozen=True, kw_only=True):
    """One bug.

    Attributes:
        name: for people.
        breaks: invariants that it may break; one of them has to be what is found.
        plant: which attributes of the product to replace with what.
    """

    name: str
    breaks: tuple[str, ...]
    plant: Callable[[], Patches]


def sql(**changes: tuple[str, str]) -> Callable[[], Patches]:
    """Replace a part of named statements of SQLite, each `(what, by what)`."""

    def plant() -> Patches:
        queries = dict(QUERIES)
        for name, (what, instead) in changes.items():
            assert what in queries[name], f"the statement {name} does not hold {what!r}"
            queries[name] = queries[name].replace(what, instead)
        return [(Session.__init__, "__defaults__", (queries,))]

    return plant


class Through:
    """A session, with something of it changed."""

    def __init__(self, session: Any) -> None:
        self.__dict__["_session"] = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._session, name, value)


async def nothing(*_: object, **__: object) -> int:
    """In place of what would have done something."""
    return 0


def without_duty(name: str) -> Callable[[], Patches]:
    """Masters do not do this by themselves."""
    return lambda: [(millrace.scheduler.duties, name, nothing)]
