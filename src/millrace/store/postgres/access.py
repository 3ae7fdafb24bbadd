"""How the parts of the shared store reach its database."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from millrace.store.postgres.connection import Session
from millrace.store.store import Added

T = TypeVar("T")


class Access(ABC):
    """Runs a unit in a transaction, or a query."""

    @abstractmethod
    async def _write(self, unit: Callable[[Session], Awaitable[T]]) -> T: ...

    @abstractmethod
    async def _read(self, query: Callable[[Session], Awaitable[T]]) -> T: ...

    @abstractmethod
    async def _accept(self, unit: Callable[[Session], Awaitable[tuple[T, Sequence[Added]]]]) -> T:
        """As `_write`, for a unit that also gives the jobs that it accepted."""


async def number_of(session: Session, job_id: str) -> int:
    """The job's number; 0, which is no job's, where it is unknown."""
    found = await session.one("number_of_job", job_id)
    return 0 if found is None else int(found[0])
