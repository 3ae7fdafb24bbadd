"""What the errors of PostgreSQL and of the way to it mean, and which of them a new try mends."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import asyncpg

from millrace.runtime.backoff import Backoff
from millrace.store.store import SILENT, StoreError, StoreFullError, StoreUnavailableError

T = TypeVar("T")
_TRIES = 6
_RIVALS = Backoff(base_s=0.01, cap_s=0.2)
FULL = "it has no connection to spare"
STANDBYS = "none of its servers takes writes: a standby has to be promoted"

_UNAVAILABLE: tuple[tuple[type[Exception], str], ...] = (
    (asyncpg.TargetServerAttributeNotMatched, STANDBYS),
    (asyncpg.ReadOnlySQLTransactionError, "it takes no writes: it is a standby"),
    (asyncpg.TooManyConnectionsError, FULL),
    (asyncpg.LockNotAvailableError, "others hold a lock for long"),
    (asyncpg.QueryCanceledError, "a statement took too long"),
    (asyncpg.OperatorInterventionError, "it is starting or stopping"),
    (asyncpg.IdleInTransactionSessionTimeoutError, "this master stood still within a transaction"),
    (asyncpg.InvalidAuthorizationSpecificationError, "it refuses this master's name or password"),
    (asyncpg.InvalidCatalogNameError, "there is no such database"),
    (asyncpg.PostgresConnectionError, SILENT),
    (asyncpg.InterfaceError, SILENT),
    (asyncpg.InternalClientError, SILENT),
    (OSError, SILENT),  # TimeoutError is one
)
UNAVAILABLE = tuple(kind for kind, _ in _UNAVAILABLE)
"""After these nobody knows whether anything was done, and the connection is of no use."""


class AgainError(Exception):
    """The transaction met a rival in a way that only a new one can see right."""


def _lost(error: BaseException) -> bool:
    """Whether a rival was in the way, and a new look will find what it did."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return bool(error.constraint_name == "tasks_held")  # another master serves the same request of a node
    return isinstance(error, AgainError | asyncpg.DeadlockDetectedError | asyncpg.SerializationError)


async def persist(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives, tried again after a moment where it lost to a rival."""
    for failures in range(1, _TRIES):
        try:
            return await work()
        except Exception as error:
            if not _lost(error):
                raise
        await asyncio.sleep(_RIVALS.wait_s(failures, random.random))
    return await work()


def meaning_of(error: BaseException) -> StoreError | None:
    """The store's error for one of PostgreSQL or the network; None for any other."""
    if isinstance(error, asyncpg.DiskFullError):
        return StoreFullError("cannot write: PostgreSQL has no space left; free some and try again")
    for kind, why in _UNAVAILABLE:
        if isinstance(error, kind):
            reason = str(error) or type(error).__name__
            text = f"cannot reach PostgreSQL: {reason}; check that it runs and accepts this address"
            return StoreUnavailableError(text, why=why)
    if isinstance(error, asyncpg.PostgresError | AgainError):
        return StoreError(f"cannot write: PostgreSQL says {error}")
    return None


@contextmanager
def explained() -> Iterator[None]:
    """The block's errors as the store's.

    Raises:
        StoreError: PostgreSQL, or the way to it, failed.
    """
    try:
        yield
    except Exception as error:
        meaning = meaning_of(error)
        if meaning is None:
            raise
        raise meaning from error


def spoils(error: BaseException) -> bool:
    """Whether the connection that met this error is of no use any more: it was more than an answer of PostgreSQL's."""
    return not isinstance(error, asyncpg.PostgresError | AgainError) or isinstance(error, UNAVAILABLE)
