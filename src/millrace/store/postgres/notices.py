"""The connection on which a master hears: hints of other masters (LISTEN and NOTIFY), and the pulse of the database.

NOTIFY takes a lock over the whole database at commit, so it stands apart from the work, and what happens within
50 ms goes out as one notice. A hint may be lost, so its commit waits for no disk.

Nothing that takes time runs here. So where this connection is not answered for a moment, nothing is, and whoever waits for an
answer on another one is told so.
"""

import asyncio
import contextlib
import itertools
import random
import secrets
from collections.abc import Iterable
from typing import Any

import asyncpg

from millrace.runtime.backoff import Backoff
from millrace.runtime.clock import Clock
from millrace.store.hints import Listeners
from millrace.store.postgres.connect import QUICK_SETTINGS
from millrace.store.postgres.connection import QUERIES, Database
from millrace.store.postgres.errors import FULL, UNAVAILABLE, explained
from millrace.store.store import SILENT, StoreError, StoreUnavailableError

CHANNEL = "millrace"
INTERVAL_S = 0.05
PULSE_S = 0.25
TICK_S = 0.15
SILENT_TICKS = 5
"""Looks in vain, TICK_S apart, after which the database counts as silent. Looks, not seconds: where this process itself stood
still, the answer may be there and only not have been read."""
GIVEN_UP_TICKS = 27
"""After these the connection is given up, and every server is tried anew: another one may have been promoted."""
_CLASSES_IN_ONE = 500  # a notice holds less than 8000 bytes
_BACKOFF = Backoff(base_s=0.1, cap_s=1.0)


class Notices:
    """What this master tells the others, and what it hears."""

    def __init__(self, database: Database, clock: Clock, listeners: Listeners) -> None:
        self._database = database
        self._clock = clock
        self._listeners = listeners
        self._me = secrets.token_hex(6)
        self._changed = False
        self._queued: set[int] = set()
        self._pending = asyncio.Event()
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen before the first hint can be missed."""
        await self._listen()
        self._task = asyncio.create_task(self._live(), name="store-notices")

    async def stop(self) -> None:
        """Say nothing more and hang up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
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

    async def _live(self) -> None:
        while True:
            if self._connection.is_closed():
                await self._come_back()
            await self._clock.wait_event(self._pending, PULSE_S)
            self._pending.clear()
            notices = self._take()
            for notice in notices:
                await self._ask("notify", notice)
            if notices:
                await self._clock.sleep(INTERVAL_S)
            else:
                await self._ask("ping")

    def _take(self) -> list[str]:
        """What there is to tell, as notices."""
        changed, self._changed = self._changed, False
        classes, self._queued = sorted(self._queued), set()
        if not (changed or classes):
            return []
        parts = [classes[first : first + _CLASSES_IN_ONE] for first in range(0, max(1, len(classes)), _CLASSES_IN_ONE)]
        return [f"{self._me} {int(changed)} {','.join(map(str, part))}" for part in parts]

    async def _ask(self, name: str, *args: object) -> None:
        """Run a statement; while its answer does not come, there is silence."""
        asking = asyncio.ensure_future(self._connection.fetch(QUERIES[name], *args))
        try:
            for tick in itertools.count(1):
                if (await asyncio.wait((asking,), timeout=TICK_S))[0]:
                    break
                if tick == SILENT_TICKS:
                    text = f"cannot reach PostgreSQL: it has said nothing for {SILENT_TICKS * TICK_S:.2g} s"
                    self._database.silence.begin(StoreUnavailableError(text, why=SILENT))
                elif tick == GIVEN_UP_TICKS:
                    self._connection.terminate()
                    self._database.hang_up()
        except asyncio.CancelledError:
            asking.cancel()
            raise
        with contextlib.suppress(asyncpg.PostgresError, *UNAVAILABLE):  # a hint may be lost
            asking.result()
            if self._database.silence.end():
                self._look_again()

    async def _listen(self) -> None:
        with explained():
            connection = await self._database.connect(QUICK_SETTINGS)
            connection.add_termination_listener(self._on_lost)
            await connection.add_listener(CHANNEL, self._on_notice)
        self._connection = connection

    def _on_lost(self, _: object) -> None:
        self._pending.set()

    def _on_notice(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        sender, changed, classes = [*payload.split(" "), "", ""][:3]
        if sender != self._me:
            self._listeners.tell(changed == "1", {int(text) for text in classes.split(",") if text.isdigit()})

    async def _come_back(self) -> None:
        for failures in itertools.count(1):
            try:
                await self._listen()
                break
            except StoreError as error:
                if isinstance(error, StoreUnavailableError) and error.why != FULL:
                    self._database.silence.begin(error)
                    self._database.hang_up()
            await self._clock.sleep(_BACKOFF.wait_s(failures, random.random))
        self._database.silence.end()
        self._look_again()

    def _look_again(self) -> None:
        """What others said meanwhile was missed, and what this master did may have been done without its hearing of it."""
        self._listeners.tell(changed=True, queued=())
