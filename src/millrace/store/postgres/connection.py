"""The database of a master: how named SQL runs on its connections, and when its callers are told that it does not answer."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar, cast

from millrace.store.postgres.connect import SETTINGS, Servers
from millrace.store.postgres.errors import AgainError, explained, persist
from millrace.store.postgres.history import History
from millrace.store.postgres.pool import LEAST, Pool, share
from millrace.store.postgres.silence import Silence
from millrace.store.queries import load_queries
from millrace.store.store import ConnectionsUsed, StoreError, StoreUnavailableError

T = TypeVar("T")
QUERIES = load_queries("millrace.store.postgres")
PATIENCE_S = 10.0
"""How long a write's caller waits. The write itself goes on and keeps its connection: where commits wait for a standby that
is away, each connection that was hung up would leave one behind at the server, until that is full."""
STUCK_S = 4.0
"""A write without an answer for so long tells that no write is answered."""
STUCK = "it answers no writes; if its standby is synchronous, is that there?"

__all__ = ["QUERIES", "AgainError", "Database", "Session", "persist"]


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

    def transaction(self) -> contextlib.AbstractAsyncContextManager[object]:
        """All statements of the block in one transaction."""
        return cast("contextlib.AbstractAsyncContextManager[object]", self._connection.transaction())

    async def alone(self, sql: str, *args: object) -> list[Any]:
        """Every row of a statement that is a transaction of its own, run again where it lost to a rival."""
        if self._connection.is_in_transaction():  # which has to be run again as a whole
            return await self.all_of(sql, *args)
        return list(await persist(lambda: self._connection.fetch(sql, *args)))


class Database:
    """The connections of a master. Coalescing makes a few of them enough for many requests."""

    def __init__(self, url: str, *, connections: int, may_lose: bool) -> None:
        """`connections`: how many it has at the most, the one that listens among them. `may_lose`: as History."""
        self._most = connections
        self._may_lose = may_lose
        self._room = connections
        self._writes: dict[asyncio.Task[Any], float] = {}
        self.history = History(may_lose=may_lose)
        self._servers = Servers(url, self.history.check)
        self.silence = Silence()
        self._pool = Pool(self._servers.connect, most=max(LEAST, connections) - 1)

    async def open(self) -> None:
        """Connect, and see that what is answered stays.

        Raises:
            StoreError: the server answers commits before they are durable, or a standby could be promoted without them.
            StoreUnavailableError: there is no answer.
        """
        commits, self._room, names, standbys = await self.read(lambda session: session.one("durability"))
        if commits not in ("on", "remote_apply"):
            raise StoreError(f"cannot use this PostgreSQL: synchronous_commit is {commits}; set it to on")
        if self._servers.several and standbys and not names and not self._may_lose:
            raise StoreError(
                "cannot use this PostgreSQL: its standby is asynchronous, so that jobs which were accepted are lost when it is"
                " promoted; name it in synchronous_standby_names, or allow that with MILLRACE_STORE_MAY_LOSE=1"
            )

    def close(self) -> None:
        """Disconnect; what still runs may end first, but for writes that nobody waits for any more."""
        self._pool.close()
        for writing in self._writes:
            writing.cancel()

    def hang_up(self) -> None:
        """Break off what is under way, and let what comes begin anew, perhaps with another server."""
        self._pool.hang_up()

    @property
    def used(self) -> ConnectionsUsed:
        """The connections, for the metrics."""
        return self._pool.used

    def shared_by(self, masters: int) -> None:
        """So many masters live on what the server lets in."""
        self._pool.limit(share(self._most, room=self._room, masters=masters) - 1)

    async def connect(self, settings: Mapping[str, str] = SETTINGS) -> Any:
        """One connection outside of the pool, to a database that has what was answered before."""
        return await self._servers.connect(settings)

    def check_writes(self) -> None:
        """See that writes are answered.

        Raises:
            StoreUnavailableError: one waits for so long that none is.
        """
        now_s = asyncio.get_running_loop().time()
        waits_s = now_s - min(self._writes.values(), default=now_s)
        if waits_s > STUCK_S:
            raise StoreUnavailableError(f"cannot write to PostgreSQL: no answer for {waits_s:.0f} s", why=STUCK)

    async def read(self, query: Callable[[Session], Awaitable[T]]) -> T:
        """Run a query; each of its statements sees what is committed when it begins."""
        with explained():
            async with self.silence.ends(), self._pool.lend(hot=False) as connection:
                return await query(Session(connection))

    async def hot(self, unit: Callable[[Session], Awaitable[T]]) -> tuple[T, Session]:
        """Run a unit of which each statement is a transaction of its own, durable when it is answered."""
        self.silence.check()
        return await self._written(self._hot(unit))

    async def _hot(self, unit: Callable[[Session], Awaitable[T]]) -> tuple[T, Session]:
        async with self._pool.lend(hot=True) as connection:
            session = Session(connection)
            return await unit(session), session

    async def transact(self, unit: Callable[[Session], Awaitable[T]]) -> tuple[T, Session]:
        """Run a unit in one transaction, again where it lost to a rival; returns when the commit is durable."""
        self.silence.check()
        return await self._written(persist(lambda: self._transact(unit)))

    async def _transact(self, unit: Callable[[Session], Awaitable[T]]) -> tuple[T, Session]:
        async with self._pool.lend(hot=False) as connection, connection.transaction():
            session = Session(connection)
            return await unit(session), session

    async def _written(self, work: Coroutine[Any, Any, T]) -> T:
        """What a write gives; it is not broken off where the caller's patience ends."""
        writing = asyncio.create_task(work)
        self._writes[writing] = asyncio.get_running_loop().time()
        writing.add_done_callback(self._end)
        if not await self.silence.wait(writing, PATIENCE_S):
            raise StoreUnavailableError(f"cannot write to PostgreSQL: no answer for {PATIENCE_S:g} s", why=STUCK)
        if writing.cancelled():
            raise StoreUnavailableError("cannot use PostgreSQL: the store stops")
        with explained():
            return writing.result()

    def _end(self, writing: "asyncio.Task[Any]") -> None:
        del self._writes[writing]
        if not writing.cancelled():
            writing.exception()  # whoever waited has seen it
