"""The database: a real SQLite in memory, behind a simulated connection or inside a simulated master.

As a server (`ServerStore`) it stands for PostgreSQL: any number of masters, each transaction at one moment, its request and
its answer on the way for a while, connections that break before or after COMMIT, hints that get lost. It runs the product's
own SQL for SQLite; that PostgreSQL's gives the same answers is what the tests of both stores compare. Embedded
(`EmbeddedStore`) it is the product's store as it is, with its writer and group commit, for one master.
"""

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import apsw
from msgspec import Struct

from millrace.store.sqlite.connection import Session
from millrace.store.sqlite.driver import SqliteStore
from millrace.store.sqlite.schema import migrate
from millrace.store.sqlite.writer import Writer
from millrace.store.store import Hint, Listener, StoreFullError, StoreUnavailableError
from sim.machines import BEGINNING, Host, HostClock, Process

if TYPE_CHECKING:
    from sim.world import World

T = TypeVar("T")
_BEGINNING_MS = round(BEGINNING.timestamp() * 1000)


class Trouble(Struct, kw_only=True):
    """How the database fails at present: chances for each transaction."""

    away: bool = False
    full: float = 0.0  # of writes
    lost_before: float = 0.0  # the connection breaks, and nothing was done
    lost_after: float = 0.0  # it breaks after COMMIT, and nobody knows
    delay_s: float = 0.001
    hints_lost: float = 0.0


def _lost(why: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"cannot reach the database: {why}")


class _Asked:
    """One transaction of a master, on its way to the server and back."""

    def __init__(
        self,
        database: "Database",
        process: Process,
        unit: Callable[[Session], Any],
        answer: "asyncio.Future[Any]",
        *,
        write: bool,
    ) -> None:
        self._database = database
        self._process = process
        self._unit = unit
        self._answer = answer
        self._write = write

    def settle(self, error: Exception | None, result: object) -> None:
        """The answer has arrived at the master."""
        if self._answer.done():
            return
        if error is not None:
            self._answer.set_exception(error)
        else:
            self._answer.set_result(result)

    def _back(self, error: Exception | None, result: object = None) -> None:
        database = self._database
        delay_s = database.chance.expovariate(1.0) * database.trouble.delay_s
        self._process.later(delay_s, self.settle, error, result)

    def run(self) -> None:
        """Be done at the server, or not."""
        database, trouble = self._database, self._database.trouble
        if trouble.away:
            self._back(_lost("the server is away"))
            return
        if self._write and database.chance.random() < trouble.full:
            self._back(StoreFullError("cannot write: the database has no space left"))
            return
        draw = database.chance.random()
        if draw < trouble.lost_before:
            self._back(_lost("the connection was lost"))
            return
        try:
            result, session = database.transact(database.connection, self._unit, write=self._write)
        except Exception as error:  # noqa: BLE001  it belongs to the caller
            self._back(error)
            return
        if self._write:
            database.world.watch.committed()
            if session.changed or session.queued:
                database.tell(session.changed, session.queued)
        if draw < trouble.lost_before + trouble.lost_after:
            database.world.history.add("ambiguous", self._process.name)
            self._back(_lost("the connection was lost inside COMMIT"))
        else:
            self._back(None, result)


class Database:
    """What the stores of all masters share."""

    def __init__(self, world: "World", chance: Random) -> None:
        self.world = world
        self.chance = chance
        self.host = Host("database", HostClock(world.loop))
        self.process = Process(world, "database", self.host)
        self.trouble = Trouble()
        # In memory a reader would meet the lock of a writer that waits for its fsync.
        self.uri = str(world.folder / "farm.db") if world.plan.embedded else ":memory:"
        self.connection = self.open()
        migrate(self.connection, lambda: _BEGINNING_MS)
        self.stores: dict[object, tuple[Process, Callable[[Hint, int | None], None]]] = {}
        self.time_ms: Callable[[], int] = self._true_ms

    def open(self) -> apsw.Connection:
        """One more connection."""
        connection = apsw.Connection(
            self.uri,
            flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI,
            statementcachesize=200,
        )
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_mode = {'WAL' if self.world.plan.embedded else 'MEMORY'}")
        return connection

    def _true_ms(self) -> int:
        return _BEGINNING_MS + int(self.world.loop.time() * 1000)

    async def execute(self, process: Process, unit: Callable[[Session], T], *, write: bool) -> T:
        """Run a transaction for a master."""
        answer: asyncio.Future[T] = self.world.loop.create_future()
        asked = _Asked(self, process, unit, answer, write=write)
        network = self.world.network
        if network.reaches(process.host, self.host) and network.reaches(self.host, process.host):
            self.process.later(self.chance.expovariate(1.0) * self.trouble.delay_s, asked.run)
        else:
            process.later(5.0, asked.settle, _lost("no answer within 5 s"), None)
        return await answer

    def transact(self, connection: apsw.Connection, unit: Callable[[Session], T], *, write: bool) -> tuple[T, Session]:
        """The transaction itself, at one moment."""
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            session = Session(connection, self.time_ms())
            result = unit(session)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result, session

    def tell(self, changed: bool, queued: Iterable[int]) -> None:
        """Pass hints on to every master, late or never."""
        hints: list[tuple[Hint, int | None]] = [(Hint.QUEUED, class_id) for class_id in sorted(queued)]
        if changed:
            hints.append((Hint.CHANGED, None))
        for process, listener in self.stores.values():
            for hint, class_id in hints:
                if self.chance.random() >= self.trouble.hints_lost and not process.dead:
                    process.later(self.chance.expovariate(1.0) * 0.002, listener, hint, class_id)

    def read(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """For whoever looks from outside."""
        return list(self.connection.execute(sql, values))


class ServerStore(SqliteStore):
    """The store of one of many masters: the product's units, run by the server."""

    def __init__(self, database: Database, process: Process) -> None:  # no call of super: there is no file
        self._database = database
        self._process = process
        self._classes: dict[str, int] = {}

    async def start(self) -> None:
        """The connections are opened as they are needed."""

    async def stop(self) -> None:
        """As start."""

    async def ping(self) -> None:
        await self._read(lambda session: session.one("ping"))

    def _now_ms(self) -> int:
        return self._database.time_ms()

    def listen(self, listener: Listener) -> Callable[[], None]:
        token = object()
        self._database.stores[token] = (self._process, listener)
        return lambda: self._database.stores.pop(token, None) and None  # type: ignore[func-returns-value]

    async def _write(self, unit: Callable[[Session], T], *, gather_s: float = 0.0, weight: int = 1) -> T:
        return await self._database.execute(self._process, unit, write=True)

    async def _read(self, query: Callable[[Session], T]) -> T:
        return await self._database.execute(self._process, query, write=False)


class _Watched:
    """A connection of the writer: each COMMIT is seen, and may find no space."""

    def __init__(self, database: Database, connection: apsw.Connection) -> None:
        self._database = database
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, values: Any = ()) -> Any:
        database = self._database
        if sql == "COMMIT" and database.chance.random() < database.trouble.full:
            raise apsw.FullError("database or disk is full")
        found = self._connection.execute(sql, values)
        if sql == "COMMIT":
            database.world.watch.committed()
        return found


class EmbeddedStore(SqliteStore):
    """The product's store with its writer, over a file in memory."""

    def __init__(self, database: Database, process: Process) -> None:
        super().__init__(database.world.folder / "farm.db", clock=process.host.clock)
        self._database = database
        process.at_death.append(self._die)
        database.time_ms = self._now_ms

    async def start(self) -> None:
        self._connection = self._database.open()
        watched: Any = _Watched(self._database, self._connection)
        self._writer = Writer(watched, self._path, self._now_ms, self._listeners.tell)

    def _die(self) -> None:
        """What was not committed is gone."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._connection.close()

    async def stop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.stop()

    async def _read(self, query: Callable[[Session], T]) -> T:
        database = self._database
        await asyncio.sleep(database.chance.expovariate(1.0) * database.trouble.delay_s)
        result, _ = database.transact(database.connection, query, write=False)
        await asyncio.sleep(database.chance.expovariate(1.0) * database.trouble.delay_s)
        return result

    def _release(self) -> None:
        """There is no file to let go of."""
