"""Tell the world: make messages of what has happened, and deliver them.

Every master does both. The relay is one row, so one of them makes messages at a time; a message that is taken belongs to its
master until a lease ends, so it is delivered by one at a time, and by another one where that master dies.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from millrace.domain.webhooks import MOST_WAITING, Answer, DeliveryState, Gone, Message, body, follows, headers
from millrace.runtime.service import Service, Services
from millrace.runtime.ticker import Ticker
from millrace.scheduler.farm import Farm
from millrace.telemetry.logs import logger

log = logger("webhooks")

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[Answer]]
"""Sends a body with headers to a URL; within less than `LEASE_S`, and without raising."""

LEASE_S = 60.0
"""Longer than a request may take: whoever lets it pass has been stopped, or is dead."""
AT_ONCE = 32
OF_ONE = 4
"""Requests under way, and of them how many to one receiver, so that one that hangs holds up nobody else."""
LOOK_S = 2.0
PAUSE_S = 0.1
"""Between two looks at the least, however much happens."""
LAST_WORDS_S = 5.0
_BATCH = 500
KEEP_S: Mapping[DeliveryState, float] = {DeliveryState.DELIVERED: 86_400.0, DeliveryState.DEAD: 30 * 86_400.0}
"""How long the log keeps what has ended."""


class Outbox(Service):
    """Relays and delivers. Where nobody listens it asks the store one question every two seconds, and nothing else."""

    def __init__(self, farm: Farm, post: Post, *, complain: Callable[[str, Exception], None]) -> None:
        """`complain` is called with a duty's name and what went wrong; the duty goes on."""
        super().__init__()
        self._farm = farm
        self._post = post
        self._complain = complain
        self._sending: dict[asyncio.Task[None], str] = {}
        self._ended = asyncio.Event()  # a request has ended since the last look
        self._stopping = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._tickers = Services(
            Ticker(
                self.clean,
                interval_s=60.0,
                clock=farm.clock,
                on_error=lambda error: complain("clean_webhooks", error),
                name="clean_webhooks",
            )
        )

    async def on_start(self) -> None:
        """Begin."""
        self._stopping.clear()
        self._loop = asyncio.create_task(self._run(), name="outbox")
        await self._tickers.start()

    async def on_stop(self) -> None:
        """Requests under way get a moment to end; what they do not reach is sent again by whoever comes next."""
        self._stopping.set()
        await self._tickers.stop()
        loop, self._loop = self._loop, None
        if loop is not None:
            await loop
        tasks = set(self._sending)
        try:
            await self._farm.clock.wait_for(self.idle(), LAST_WORDS_S)
        except TimeoutError:
            for task in tasks:
                task.cancel()
            await self.idle()

    async def _run(self) -> None:
        clock = self._farm.clock
        while not self._stopping.is_set():
            # Taken before the look, so that what happens in between is heard.
            ring = self._farm.changes.next_ring
            self._ended.clear()
            wait_s, listened = LOOK_S, False
            try:
                listened = await self.relay()
                await self.deliver()
                wait_s = await self._until_next()
            except Exception as error:  # noqa: BLE001  one bad look must not end the duty
                self._complain("webhooks", error)
            await clock.wait_event(self._stopping, PAUSE_S)
            if not self._stopping.is_set():
                await self._wait(ring if listened else None, wait_s)

    async def _wait(self, ring: asyncio.Event | None, wait_s: float) -> None:
        """Until something happens that may be told, a request ends, some time passes, or the stop."""
        events = (self._stopping, self._ended, *((ring,) if ring is not None else ()))
        waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in events]
        waiting.append(asyncio.ensure_future(self._farm.clock.sleep(wait_s)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.wait(waiting)

    async def _until_next(self) -> float:
        due = await self._farm.store.next_message_due()
        if due is None:
            return LOOK_S
        left_s = (due - await self._farm.store.now()).total_seconds()
        # What is due already waits for a message before it, or for a free place: an answer to those will wake us.
        return min(LOOK_S, left_s) if left_s > 0 else LOOK_S

    async def relay(self) -> bool:
        """Make messages of all that has happened; whether anybody listens."""
        while (count := await self._farm.store.relay_messages(limit=_BATCH)) == _BATCH:
            pass
        return count is not None

    async def deliver(self) -> None:
        """Take what is due, as much as there are places for, and begin to send it."""
        free = AT_ONCE - len(self._sending)
        due = await self._farm.store.next_message_due() if free > 0 else None
        if due is None or due > await self._farm.store.now():
            return
        busy = {webhook for webhook, count in Counter(self._sending.values()).items() if count >= OF_ONE}
        for message in await self._farm.store.take_messages(busy=busy, each=OF_ONE, limit=free, lease_s=LEASE_S):
            task = asyncio.create_task(self._send(message), name=f"webhook {message.webhook}")
            self._sending[task] = message.webhook
            task.add_done_callback(self._sent)

    async def idle(self) -> None:
        """Return when no request is under way that was begun before this call."""
        if self._sending:
            await asyncio.wait(set(self._sending))

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        self._ended.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._complain("webhooks", error if isinstance(error, Exception) else RuntimeError(str(error)))

    async def _send(self, message: Message) -> None:
        content = body(message)
        answer = await self._post(message.url, headers(message, content, now=self._farm.clock.now()), content)
        then = follows(answer, attempt=message.attempt, jitter=self._farm.chance.random())
        await self._farm.store.settle_message(message.sequence, attempt=message.attempt, follows=then)
        if isinstance(then, Gone) and await self._farm.store.disable_webhook(
            message.webhook, why="its receiver answered 410 Gone"
        ):
            log.warning("webhooks.disabled", webhook=message.webhook, why=then.result)

    async def clean(self) -> None:
        """Forget old messages, and disable webhooks whose receivers have been away for too long."""
        for state, age_s in KEEP_S.items():
            while await self._farm.store.forget_messages(state, age_s=age_s, limit=_BATCH) == _BATCH:
                pass
        for webhook in await self._farm.store.overfull_webhooks(most=MOST_WAITING):
            why = f"its receiver fails, and {MOST_WAITING} messages wait for it"
            if await self._farm.store.disable_webhook(webhook, why=why):
                log.warning("webhooks.disabled", webhook=webhook, why=why)
