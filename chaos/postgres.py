"""The PostgreSQL of a run: one server, or two where the plan has one of them fail over to the other."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from bench.postgres_pair import PATIENCE_S, Pair, Server
from sim.history import History

DATABASE = "farm"
_SETTINGS = {"min_wal_size": "32MB", "max_wal_size": "64MB", "max_connections": "60"}
_LOSE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


class Database:
    """It may be killed at any moment."""

    def __init__(
        self, folder: Path, history: History, changed: Callable[[Server, bool], Awaitable[None]], *, fails_over: bool
    ) -> None:
        """`folder` is there and empty; that of the first server, `a` in it, may be a disk of its own. `changed` hears
        whether a server takes connections.
        """
        self._pair = Pair(folder, synchronous=True, database=DATABASE, settings=_SETTINGS) if fails_over else None
        self.server = self._pair.primary if self._pair is not None else Server(folder / "a", "a", _SETTINGS)
        """Which takes writes."""
        self.servers = (self._pair.primary, self._pair.standby) if self._pair is not None else (self.server,)
        self._history, self._changed = history, changed
        self._starting = asyncio.Lock()

    @property
    def url(self) -> str:
        """For whoever is no master."""
        return self.server.url(DATABASE)

    @property
    def alive(self) -> bool:
        """Whether the server that takes writes runs."""
        try:
            return bool(self.server.family())
        except psutil.NoSuchProcess:  # it ends while it is looked at
            return False

    async def make(self) -> None:
        """Make the database and start all of it."""
        if self._pair is not None:
            await asyncio.to_thread(self._pair.start)
        else:
            await asyncio.to_thread(self._make_one)
        for server in self.servers:
            await self._changed(server, True)

    def _make_one(self) -> None:
        self.server.initialize()
        self.server.start()
        self.server.sql(f"CREATE DATABASE {DATABASE}")

    async def start(self) -> None:
        """Start it, unless it runs; again and again as long as its disk is full."""
        async with self._starting:
            deadline_s = time.monotonic() + PATIENCE_S
            while not self.alive:
                try:
                    await asyncio.to_thread(self.server.start)
                except RuntimeError:
                    if time.monotonic() > deadline_s:
                        raise
                    await asyncio.sleep(0.2)
                else:
                    await self._back()

    async def _back(self) -> None:
        await self._changed(self.server, True)
        self._history.add("ready", "database")

    async def kill(self) -> None:
        """SIGKILL for all of it at once."""
        self._history.add("killed", "database", "fault")
        await asyncio.to_thread(self.server.kill)
        await self._changed(self.server, False)

    async def restart(self) -> None:
        """As an administrator does it: transactions are broken off."""
        await asyncio.to_thread(self.server.stop)
        await self._changed(self.server, False)
        await self.start()

    async def fail_over(self) -> bool:
        """The machine of the server is gone for good, and its standby takes its place; whether there was one."""
        if self._pair is None or self.server is self._pair.standby:
            return False
        await self.kill()
        await asyncio.to_thread(self._pair.promote)
        self.server = self._pair.standby
        await self._back()
        return True

    async def lose_connections(self) -> None:
        """Every connection breaks, whatever it is in the middle of."""
        if self.alive:
            await asyncio.to_thread(self.server.sql, _LOSE)

    async def end(self) -> None:
        """Stop all of it."""
        for server in reversed(self.servers):
            await asyncio.to_thread(server.stop)
