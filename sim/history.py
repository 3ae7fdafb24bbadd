"""What happened, in order, as plain tuples, and what of it does not hold; a digest tells whether two runs were the same."""

import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from msgspec import Struct


class Violation(Struct, frozen=True):
    """An invariant that did not hold, and how many events of the history there were by then."""

    invariant: str
    text: str
    at_s: float
    events: int


class Event(NamedTuple):
    """`at_s` is true time; `kind` says what the fields are."""

    at_s: float
    kind: str
    fields: tuple[object, ...]

    def __str__(self) -> str:
        return f"{self.at_s:11.4f}  {self.kind:<14} " + " ".join(str(one) for one in self.fields)


class History:
    """Grows while a simulation runs."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self._hash = hashlib.sha256()
        self.events: list[Event] = []

    def add(self, kind: str, *fields: object) -> None:
        """Something happened now."""
        event = Event(self.now(), kind, fields)
        self._hash.update(repr(event).encode())
        self.events.append(event)

    def of(self, *kinds: str) -> Iterator[Event]:
        """Those of some kinds."""
        return (event for event in self.events if event.kind in kinds)

    @property
    def digest(self) -> str:
        """Equal for equal histories."""
        return self._hash.hexdigest()[:16]
