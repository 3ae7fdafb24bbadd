"""Keys that are kept elsewhere, remembered for a moment: no request reads a database to learn who sends it."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

GOOD_FOR_S = 2.0
"""Seconds after which a key is looked up again: a key that another master revoked opens this one no longer than that."""
GOOD_WITHOUT_S = 600.0
"""Seconds since it was found in which a key goes on to open what needs no database, where that does not answer: whoever watches a
master is not to be blind then. To end a key takes the database, too."""
MOST = 10_000
"""Answers that are remembered; beyond them the oldest is forgotten."""


class Named(Protocol):
    """What is remembered has an id."""

    @property
    def id(self) -> str:
        """The id by which its use is noted."""
        ...


K = TypeVar("K", bound=Named)
Mark = bytes | str
"""The SHA-256 of a secret, or the id of a key (in a session)."""


class UnfamiliarError(Exception):
    """Nobody has looked this up lately; `mark` is what."""

    def __init__(self, mark: Mark) -> None:
        super().__init__("a key that has to be looked up")
        self.mark = mark


class _Answer(Struct, Generic[K], frozen=True):
    key: K | None
    found_s: float
    until_s: float


class KnownKeys(Generic[K]):
    """The answers of the last seconds, also that a key is none: whoever repeats a wrong one costs one look."""

    def __init__(self, find: Callable[[Mark], Awaitable[K | None]], *, monotonic_s: Callable[[], float]) -> None:
        """`find` looks a key up where keys are kept; `monotonic_s` is a clock that nobody sets back."""
        self._find = find
        self._monotonic_s = monotonic_s
        self._answers: OrderedDict[Mark, _Answer[K]] = OrderedDict()
        self._asking: dict[Mark, asyncio.Task[None]] = {}
        self._age = 0
        self._used: set[str] = set()

    def get(self, mark: Mark) -> K | None:
        """The key, or None where it is known that there is none.

        Raises:
            UnfamiliarError: it has to be looked up first, with `learn`.
        """
        found = self._answers.get(mark)
        if found is None or self._monotonic_s() >= found.until_s:
            raise UnfamiliarError(mark)
        if found.key is not None:
            self._used.add(found.key.id)
        return found.key

    async def learn(self, mark: Mark) -> None:
        """Look a key up. Whoever asks for the same one meanwhile waits for the same answer. Raises what `find` raises."""
        asking = self._asking.get(mark)
        if asking is None:
            asking = self._asking[mark] = asyncio.create_task(self._ask(mark, self._age), name="look up an API key")
        # One who hangs up must not end the question of the others.
        await asyncio.shield(asking)

    async def _ask(self, mark: Mark, age: int) -> None:
        try:
            found = await self._found(mark)
            if age == self._age:
                self._answers.pop(mark, None)
                self._answers[mark] = found
                if len(self._answers) > MOST:
                    self._answers.popitem(last=False)
        finally:
            if age == self._age:
                del self._asking[mark]

    async def _found(self, mark: Mark) -> _Answer[K]:
        before = self._answers.get(mark)
        try:
            key = await self._find(mark)
        except Exception:
            now_s = self._monotonic_s()
            if before is None or before.key is None or now_s >= before.found_s + GOOD_WITHOUT_S:
                raise
            return _Answer(before.key, before.found_s, now_s + GOOD_FOR_S)
        now_s = self._monotonic_s()
        return _Answer(key, now_s, now_s + GOOD_FOR_S)

    def forget(self) -> None:
        """Look everything up anew; also what is being asked now, for the answer may be older than this."""
        self._age += 1
        self._answers.clear()
        self._asking.clear()

    def take_used(self) -> frozenset[str]:
        """The ids of the keys that were used since this was asked last."""
        used, self._used = frozenset(self._used), set()
        return used
