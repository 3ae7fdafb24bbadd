"""How the parts of the embedded store reach its database."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from millrace.store.sqlite.connection import Session
from millrace.store.sqlite.writer import MAX_BATCH

T = TypeVar("T")
ALONE = MAX_BATCH + 1
"""The weight of what may look at any number of rows: it runs on the thread."""


class Access(ABC):
    """Hands a function over a transaction to the writer or to a reader."""

    @abstractmethod
    def _write(
        self, unit: Callable[[Session], T], *, gather_s: float = 0.0, weight: int = 1
    ) -> "asyncio.Future[T]": ...

    @abstractmethod
    async def _read(self, query: Callable[[Session], T]) -> T: ...


def number_of(session: Session, job_id: str) -> int:
    """The job's number; 0, which is no job's, where it is unknown."""
    found = session.one("number_of_job", job_id)
    return 0 if found is None else int(found[0])
