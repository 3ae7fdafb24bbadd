"""Hints between masters: LISTEN and NOTIFY on a connection of their own, outside the jobs' transactions and seldom.

NOTIFY takes a lock over the whole database at commit, so it stands apart from the work, and what happens within
50 ms goes out as one notice. A hint may be lost, so its commit waits for no disk.
"""

import asyncio
import contextlib
import random
import secrets
from collections.abc import Iterable
from typing import Any

import asyncpg

from millrace.runtime.backoff import Backoff
from millrace.runtime.clock import Clock
from millrace.store.hints import Listeners
from millrace.store.postgres.connection import QUERIES, QUICK_SETTINGS, connect
from millrace.store.store import StoreError

CHANNEL = "millrace"
INTERVAL_S = 0.05
_CLASSES_IN_ONE = 500  # a notice holds less than 8000 bytes
_BACKOFF = Backoff(base_s=0.2, cap_s=5.0)


class Notices:
    """What this master tells the others, and what it hears from them."""

    def __init__(self, url: str, clock: Clock, listeners: Listeners) -> None:
        self._url = url
        self._clock = clock
        self._listeners = listeners
        self._me = secrets.token_hex(6)
        self._changed = False
        self._queued: set[int] = set()
        self._pending = asyncio.Event()
        self._lost = asyncio.Event()
        self._connection: Any = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen before the first hint can be missed."""
        await self._listen()
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._stay_connected())]

    async def stop(self) -> None:
        """Say nothing more and hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None:
            self._connection.remove_termination_listener(self._on_lost)
            self._connection.terminate()

    def tell(self, changed: bool, queued: Iterable[int]) -> None:
        """Wake the listeners of this process now, and those of others soon."""
        queued = set(queued)
        self._listeners.tell(changed, queued)
        self._changed = self._changed or changed
        self._queued |= queued
        if changed or queued:
            self._pending.set()

    async def _send(self) -> None:
        while True:
            await self._pending.wait()
            self._pending.clear()
            changed, self._changed = self._changed, False
            classes, self._queued = sorted(self._queued), set()
            for first in range(0, max(1, len(classes)), _CLASSES_IN_ONE):
                part = ",".join(map(str, classes[first : first + _CLASSES_IN_ONE]))
                notice = f"{self._me} {int(changed)} {part}"
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # a hint may be lost
                    await self._connection.fetch(QUERIES["notify"], notice)
            await self._clock.sleep(INTERVAL_S)

    async def _listen(self) -> None:
        connection = await connect(self._url, QUICK_SETTINGS)
        connection.add_termination_listener(self._on_lost)
        await connection.add_listener(CHANNEL, self._on_notice)
        self._connection = connection

    def _on_lost(self, _: object) -> None:
        self._lost.set()

    def _on_notice(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        sender, changed, classes = [*payload.split(" "), "", ""][:3]
        if sender != self._me:
            self._listeners.tell(changed == "1", {int(text) for text in classes.split(",") if text.isdigit()})

    async def _stay_connected(self) -> None:
        while True:
            await self._lost.wait()
            self._lost.clear()
            failures = 0
            while not self._lost.is_set():
                try:
                    await self._listen()
                    break
                except StoreError:
                    failures += 1
                    await self._clock.sleep(_BACKOFF.wait_s(failures, random.random))
            # Whatever was said meanwhile was missed.
            self._listeners.tell(changed=True, queued=())
