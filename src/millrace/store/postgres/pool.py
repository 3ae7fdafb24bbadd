"""The connections of one master: a few, bounded, counted, lent to one unit at a time.

asyncpg's pool would reset and check what it lends, start a task for each return, and log tracebacks of its own while the
server is away. Here nothing but the way of planning is ever set on a connection, and one that met more than an answer of
PostgreSQL's is hung up.
"""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import asyncpg

from millrace.runtime.backoff import Backoff
from millrace.store.postgres.connect import HOT_SETTINGS, SETTINGS
from millrace.store.postgres.errors import spoils
from millrace.store.store import ConnectionsUsed, StoreUnavailableError

LEAST = 3
"""One that listens, and one each for the verbs that come often and for all others."""
SPARE = 2
"""Of what the server lets in, kept for a master that comes, and for people."""
WAIT_S = 5.0
"""How long a unit waits for a connection, before its caller is told to come again."""
_FULL = Backoff(base_s=0.05, cap_s=1.0)
_PLANNING = {True: "force_generic_plan", False: "auto"}


def share(most: int, *, room: int, masters: int) -> int:
    """How many connections one of so many masters may have on a server with room for `room`, and never more than `most`."""
    return min(most, max(LEAST, (room - SPARE) // max(1, masters)))


class _Held:
    """A connection, and whether it plans for the verbs that come often."""

    __slots__ = ("connection", "hot")

    def __init__(self, connection: Any, *, hot: bool) -> None:
        self.connection = connection
        self.hot = hot


class Pool:
    """Lends connections. Of `most`, one is always left for the other kind: long reads do not hold up claims, nor the reverse."""

    def __init__(self, connect: Callable[[Mapping[str, str]], Awaitable[Any]], *, most: int) -> None:
        """`connect` opens one under settings."""
        self._connect = connect
        self._most = most
        self._idle: list[_Held] = []
        self._lent: set[_Held] = set()
        self._using: Counter[bool] = Counter()
        self._queue: list[tuple[bool, asyncio.Future[None]]] = []
        self._closed = False
        self._waits_s = 0.0

    @property
    def used(self) -> ConnectionsUsed:
        """For the metrics."""
        return ConnectionsUsed(
            busy=self._using.total(),
            idle=len(self._idle),
            most=self._most,
            waiting=len(self._queue),
            waited_s=self._waits_s,
        )

    def limit(self, most: int) -> None:
        """There may be so many from now on; those beyond go as they come back."""
        self._most = most
        self._let_go()
        self._admit()

    @contextlib.asynccontextmanager
    async def lend(self, *, hot: bool) -> AsyncIterator[Any]:
        """A connection for the time of a block.

        Raises:
            StoreUnavailableError: all of them were busy for WAIT_S.
        """
        await self._enter(hot=hot)
        held = None
        try:
            held = await self._take(hot=hot)
            self._lent.add(held)
            await self._planning(held, hot=hot)
            yield held.connection
        except BaseException as error:
            if held is not None and spoils(error):
                held.connection.terminate()
            raise
        finally:
            self._give_back(held, hot=hot)

    def hang_up(self) -> None:
        """End every connection, also those that are lent: whoever uses one gets an error at once."""
        for held in (*self._idle, *self._lent):
            held.connection.terminate()
        self._idle.clear()

    def close(self) -> None:
        """Hang up those that nobody uses now, and the others when they come back."""
        self._closed = True
        self._let_go()

    # Places -----------------------------------------------------------------------------------------------------------

    def _may(self, *, hot: bool) -> bool:
        return self._using.total() < self._most and self._using[hot] < max(1, self._most - 1)

    async def _enter(self, *, hot: bool) -> None:
        if self._may(hot=hot) and not any(kind is hot for kind, _ in self._queue):
            self._using[hot] += 1
            return
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        place = (hot, loop.create_future())
        self._queue.append(place)
        try:
            async with asyncio.timeout(WAIT_S):
                await place[1]
        except BaseException as error:
            if place in self._queue:
                self._queue.remove(place)
            elif place[1].done() and not place[1].cancelled():  # it was let in at the same moment
                self._leave(hot=hot)
            if isinstance(error, TimeoutError):
                raise _busy(self._most) from None
            raise
        finally:
            self._waits_s += loop.time() - began_s

    def _leave(self, *, hot: bool) -> None:
        self._using[hot] -= 1
        self._admit()

    def _admit(self) -> None:
        """Let in those who wait, in order, past those of a kind that has its share."""
        for place in tuple(self._queue):
            hot, future = place
            if self._may(hot=hot):
                self._queue.remove(place)
                if not future.done():
                    self._using[hot] += 1
                    future.set_result(None)

    # Connections ------------------------------------------------------------------------------------------------------

    async def _take(self, *, hot: bool) -> _Held:
        end_s = asyncio.get_running_loop().time() + WAIT_S
        full = False
        for failures in itertools.count(1):
            # To change how one plans takes a round trip each time, so the other kind's is taken where there is no room.
            full = full or len(self._idle) + self._using.total() > self._most
            while (held := self._pick(hot=hot, any_kind=full)) is not None:
                if not held.connection.is_closed():
                    return held
            try:
                return _Held(await self._connect(HOT_SETTINGS if hot else SETTINGS), hot=hot)
            except asyncpg.TooManyConnectionsError:
                wait_s = _FULL.wait_s(failures, random.random)
                if asyncio.get_running_loop().time() + wait_s > end_s:
                    raise
                full = True
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    def _pick(self, *, hot: bool, any_kind: bool) -> _Held | None:
        """The one that was used last, of the same kind where there is one."""
        for place in range(len(self._idle) - 1, -1, -1):
            if self._idle[place].hot is hot:
                return self._idle.pop(place)
        return self._idle.pop() if any_kind and self._idle else None

    @staticmethod
    async def _planning(held: _Held, *, hot: bool) -> None:
        if held.hot is not hot:
            await held.connection.execute(f"SET plan_cache_mode = {_PLANNING[hot]}")
            held.hot = hot

    def _give_back(self, held: _Held | None, *, hot: bool) -> None:
        if held is not None:
            self._lent.discard(held)
            if not held.connection.is_closed():
                self._idle.append(held)
        self._leave(hot=hot)
        self._let_go()

    def _let_go(self) -> None:
        keep = 0 if self._closed else max(0, self._most - self._using.total())
        while len(self._idle) > keep:
            self._idle.pop(0).connection.terminate()


def _busy(most: int) -> StoreUnavailableError:
    text = f"cannot reach PostgreSQL: all {most} connections were busy for {WAIT_S:g} s; see MILLRACE_STORE_CONNECTIONS"
    return StoreUnavailableError(text, why="all connections to it are busy")
