"""Connections to PostgreSQL: how they are set up, how named SQL runs on them, what their errors mean."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import asyncpg

from millrace.store.queries import load_queries
from millrace.store.store import StoreError, StoreFullError, StoreUnavailableError

T = TypeVar("T")
QUERIES = load_queries("millrace.store.postgres")
CONNECTIONS = 4
"""Of each kind at the most: for the verbs that come often, and for all others."""

TIMEOUT_S = 30.0
"""For connecting, and for each answer as this side counts; PostgreSQL gives a statement up one second earlier."""

_TRIES = 4

SETTINGS = {
    "application_name": "millrace",
    "synchronous_commit": "on",
    "statement_timeout": str(int((TIMEOUT_S - 1) * 1000)),
    "idle_in_transaction_session_timeout": "30000",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # Every statement here is meant to walk an index, and arrays of unknown length mislead the planner: with statistics
    # that lag behind (a table just filled) it would rather hash a million rows.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_memoize": "off",
    "jit": "off",
}
HOT_SETTINGS = SETTINGS | {"plan_cache_mode": "force_generic_plan"}
"""Planning a statement of the hot verbs takes longer than running it, so it is planned once for all arguments."""
QUICK_SETTINGS = SETTINGS | {"synchronous_commit": "off"}
"""For what may be lost."""

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,  # shut down, crashed, not ready yet, canceled by the time limit
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby after a fail-over
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


class AgainError(Exception):
    """The transaction met a rival in a way that only a new one can see right."""


def _lost(error: BaseException) -> bool:
    """Whether a rival was in the way, and a new look will find what it did."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return bool(error.constraint_name == "tasks_held")  # another master serves the same request of a node
    return isinstance(error, AgainError | asyncpg.DeadlockDetectedError | asyncpg.SerializationError)


async def persist(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives, tried again where it lost to a rival."""
    for _ in range(_TRIES - 1):
        try:
            return await work()
        except Exception as error:
            if not _lost(error):
                raise
    return await work()


def meaning_of(error: BaseException) -> StoreError | None:
    """The store's error for one of PostgreSQL or the network; None for any other."""
    if isinstance(error, asyncpg.DiskFullError):
        return StoreFullError("cannot write: PostgreSQL has no space left; free some and try again")
    if isinstance(error, _UNAVAILABLE):
        reason = str(error) or type(error).__name__
        return StoreUnavailableError(f"cannot reach PostgreSQL: {reason}; check that it runs and accepts this address")
    if isinstance(error, asyncpg.PostgresError | AgainError):
        return StoreError(f"cannot write: PostgreSQL says {error}")
    return None


class Session:
    """Named SQL on a connection."""

    __slots__ = ("_connection", "changed", "queued")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.changed = False  # whether transitions were added
        self.queued: set[int] = set()  # classes of tasks that became runnable

    async def all(self, name: str, *args: object) -> list[Any]:
        """Every row of a named statement."""
        return list(await self._connection.fetch(QUERIES[name], *args))

    async def one(self, name: str, *args: object) -> Any:
        """The first row of a named statement, or None."""
        return await self._connection.fetchrow(QUERIES[name], *args)

    async def run(self, name: str, *args: object) -> None:
        """A named statement whose rows do not matter."""
        await self._connection.fetch(QUERIES[name], *args)

    async def all_of(self, sql: str, *args: object) -> list[Any]:
        """Every row of a statement that was put together from named blocks."""
        return list(await self._connection.fetch(sql, *args))

    async def alone(self, sql: str, *args: object) -> list[Any]:
        """Every row of a statement that is a transaction of its own, run again where it lost to a rival."""
        return list(await persist(lambda: self._connection.fetch(sql, *args)))


async def connect(url: str, settings: Mapping[str, str] = SETTINGS) -> Any:
    """One connection for a purpose of its own.

    Raises:
        StoreUnavailableError: there is no answer.
    """
    try:
        return await _connect(url, settings)
    except (asyncpg.PostgresError, *_UNAVAILABLE) as error:
        raise meaning_of(error) or StoreError(str(error)) from error


async def _connect(url: str, settings: Mapping[str, str]) -> Any:
    return await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S, server_settings=settings)


class _Connections:
    """A few connections of one kind, opened when they are needed and lent to one unit at a time.

    asyncpg's pool would reset and check what it lends, start a task for each return, and log tracebacks of its own while
    the server is away. Here nothing is ever set on a connection, and one that met more than an answer of PostgreSQL's
    is hung up.
    """

    def __init__(self, url: str, settings: Mapping[str, str]) -> None:
        self._url = url
        self._settings = settings
        self._idle: list[Any] = []
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._closed = False

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[Any]:
        """A connection for the time of a block."""
        if self._free.locked():
            await asyncio.wait_for(self._free.acquire(), TIMEOUT_S)
        else:
            await self._free.acquire()
        try:
            connection = await self._take()
            try:
                yield connection
            except BaseException as error:
                if not isinstance(error, asyncpg.PostgresError | AgainError) or isinstance(error, _UNAVAILABLE):
                    connection.terminate()
                raise
            finally:
                if self._closed:
                    connection.terminate()
                elif not connection.is_closed():
                    self._idle.append(connection)
        finally:
            self._free.release()

    async def _take(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await _connect(self._url, self._settings)

    def close(self) -> None:
        """Hang up those that nobody uses now, and the others when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().terminate()


class Database:
    """The connections of a master. Coalescing makes a few of them enough for many requests."""

    def __init__(self, url: str) -> None:
        self._all = _Connections(url, SETTINGS)
        self._hot = _Connections(url, HOT_SETTINGS)

    @classmethod
    async def open(cls, url: str) -> "Database":
        """Connect, and see that a commit will be durable.

        Raises:
            StoreError: the server answers commits before they are durable.
            StoreUnavailableError: there is no answer.
        """
        database = cls(url)
        setting = await database.read(lambda session: session.one("durability"))
        if setting[0] not in ("on", "remote_apply"):
            database.close()
            raise StoreError(f"cannot use this PostgreSQL: synchronous_commit is {setting[0]}; set it to on")
        return database

    def close(self) -> None:
        """Disconnect; what still runs may end first."""
        self._all.close()
        self._hot.close()

    async def read(self, query: Callable[[Session], Awaitable[T]]) -> T:
        """Run a query; each of its statements sees what is committed when it begins."""
        try:
            async with self._all.lend() as connection:
                return await query(Session(connection))
        except Exception as error:
            raise meaning_of(error) or error from error

    async def hot(self, unit: Callable[[Session], Awaitable[T]]) -> tuple[T, Session]:
        """Run a unit of which each statement is a transaction of its own, durable when it is answered."""
        try:
            async with self._hot.lend() as connection:
                session = Session(connection)
                return await unit(session), session
        except Exception as error:
            raise meaning_of(error) or error from error

    async def transact(self, unit: Callable[[Session], Awaitable[T]]) -> tuple[T, Session]:
        """Run a unit in one transaction, again where it lost to a rival; returns when the commit is durable."""
        try:
            return await persist(lambda: self._transact(unit))
        except Exception as error:
            raise meaning_of(error) or error from error

    async def _transact(self, unit: Callable[[Session], Awaitable[T]]) -> tuple[T, Session]:
        async with self._all.lend() as connection, connection.transaction():
            session = Session(connection)
            return await unit(session), session
