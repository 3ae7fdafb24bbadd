"""Making one connection: with which of the servers, under which settings, and how soon a silent one is given up."""

import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from millrace.store.postgres.errors import UNAVAILABLE, explained
from millrace.store.store import StoreUnavailableError

CONNECT_S = 2.0
"""For each server of the URL, where there are several; doubled after each round in which nobody said a word."""
CONNECT_MOST_S = 16.0
CONNECT_ALONE_S = 5.0
"""For the only one, which may have much to do."""
ANSWER_S = 30.0
"""For each answer as this side counts; PostgreSQL gives a statement up one second earlier."""

SETTINGS = {
    "application_name": "millrace",
    "synchronous_commit": "on",
    "statement_timeout": str(int((ANSWER_S - 1) * 1000)),
    "lock_timeout": "8000",
    # A leader that stands still in the midst of its renewal must not hold the row longer than its term lasts.
    "idle_in_transaction_session_timeout": "3000",
    # PostgreSQL's side of a connection that was cut in silence: what it held is let go after four seconds.
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "4000",
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
PATIENT_SETTINGS = SETTINGS | {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
"""For what may take longer than any request: migrations, copies."""

REFUSALS: tuple[type[Exception], ...] = (StoreUnavailableError, *UNAVAILABLE)

# This side of the same: Linux's names, where there are others the system's own patience holds.
_TCP = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 4000}


def servers(url: str) -> tuple[str, ...]:
    """A URL for each server that this one names."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return (url,)
    return tuple(urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(","))


class Servers:
    """The servers of one database. At most one of them takes writes: whoever did last is asked first.

    asyncpg would try them in turn within one limit for all, so that a silent one hides those behind it.
    """

    def __init__(self, url: str, check: Callable[[Any], Awaitable[None]] | None = None) -> None:
        """Nobody is asked yet. `check` may refuse a server that takes writes, with a StoreUnavailableError."""
        self._urls = servers(url)
        self._check = check
        self._first = 0
        self._least_s = CONNECT_S if self.several else CONNECT_ALONE_S
        self._limit_s = self._least_s

    @property
    def several(self) -> bool:
        """Whether there is one to fail over to."""
        return len(self._urls) > 1

    async def connect(self, settings: Mapping[str, str] = SETTINGS, *, standby: bool = False) -> Any:
        """A connection to the one that takes writes; with `standby` to the first that answers at all.

        Raises what asyncpg and the check raise; where several refuse, the most telling of it.
        """
        refusals: list[Exception] = []
        for turn in range(len(self._urls)):
            number = (self._first + turn) % len(self._urls)
            try:
                connection = await self._connect(self._urls[number], settings, standby=standby)
            except REFUSALS as error:
                refusals.append(error)
            else:
                self._first = number
                self._limit_s = self._least_s
                return connection
        # Where one is gone and another has so much to do that it does not answer in time, nobody would ever be reached.
        if any(isinstance(error, TimeoutError) for error in refusals) and not any(map(_telling, refusals)):
            self._limit_s = min(2 * self._limit_s, CONNECT_MOST_S)
        raise max(refusals, key=_telling)

    async def _connect(self, url: str, settings: Mapping[str, str], *, standby: bool) -> Any:
        connection = await asyncpg.connect(
            url,
            timeout=self._limit_s,
            command_timeout=None if settings["statement_timeout"] == "0" else ANSWER_S,
            server_settings=dict(settings),
            target_session_attrs="any" if standby else "read-write",
        )
        try:
            _notice_silence(connection)
            if self._check is not None:
                await self._check(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection


def _telling(error: Exception) -> int:
    """How much an operator, or the pool, learns from a refusal."""
    kinds = (asyncpg.TargetServerAttributeNotMatched, asyncpg.PostgresError, StoreUnavailableError)
    return next((rank for rank, kind in enumerate(kinds, start=1) if isinstance(error, kind)), 0)


def _notice_silence(connection: Any) -> None:
    """Let the kernel end a connection whose other side says nothing, not even that it has heard."""
    end = connection._transport.get_extra_info("socket")  # noqa: SLF001  asyncpg has no way to it
    if end is None or end.family not in (socket.AF_INET, socket.AF_INET6):
        return
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP.items():
        with suppress(AttributeError, OSError):
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def connect(url: str, settings: Mapping[str, str] = SETTINGS, *, standby: bool = False) -> Any:
    """One connection for a purpose of its own, as :meth:`Servers.connect`.

    Raises:
        StoreUnavailableError: there is no answer.
    """
    with explained():
        return await Servers(url).connect(settings, standby=standby)
