"""Ask for work, as much as there are free slots, and never lose what was given."""

import asyncio
import uuid
from collections.abc import Callable

from msgspec import Struct

from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.client.errors import ClientError
from millrace.runtime.backoff import Backoff
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import ClaimRequest, HandBackRequest, NextClaim, TaskView
from millrace.worker.heartbeat import Membership

log = logger("worker")

MOST_AT_ONCE = 64
"""What one claim may ask for."""
LAST_CLAIM_PATIENCE_S = 3.0
EMPTY_BACKOFF = Backoff(base_s=0.5, cap_s=10.0)


class Claims(Struct, frozen=True, kw_only=True):
    """Claims for one node.

    Attributes:
        client: speaks to the masters.
        clock, draw: for waits.
        wait_s: how long a master may let a claim wait for work.
    """

    client: AsyncClient
    clock: Clock
    draw: Callable[[], float]
    wait_s: float = 20.0

    def with_report(self, membership: Membership) -> NextClaim:
        """The claim for the slot that a report frees."""
        return NextClaim(epoch=membership.epoch, request=uuid.uuid4().hex)

    async def take(self, membership: Membership, free: int, stop: asyncio.Event) -> list[TaskView]:
        """Wait for work until some comes or `stop` is set; empty in that case, and when the wait ended without work.

        Each claim has a name of its own, and is repeated under that name until it is answered, so that a lost answer
        costs nothing. When `stop` comes while a claim is under way, what the master may have given meanwhile is asked
        for once more and handed back.

        Raises:
            StaleError, NotFoundError: the membership is over.
            ClientError: a master refused.
        """
        name = uuid.uuid4().hex
        request = ClaimRequest(epoch=membership.epoch, request=name, limit=min(free, MOST_AT_ONCE), wait_s=self.wait_s)
        asking = asyncio.ensure_future(self.client.do(work.claim(membership.node, request), patience_s=None))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((asking, stopping), return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result().tasks
        finally:
            stopping.cancel()
            if not asking.done():
                asking.cancel()
                await asyncio.wait((asking,))
        given = await self.again(membership, name)
        await asyncio.gather(*(self.hand_back(membership, task, "the worker takes no more work") for task in given))
        return []

    async def again(self, membership: Membership, name: str) -> list[TaskView]:
        """What a claim that was never answered may have been given: its name is asked for once more."""
        request = ClaimRequest(epoch=membership.epoch, request=name, limit=1, wait_s=0.0)
        try:
            reply = await self.client.do(work.claim(membership.node, request), patience_s=LAST_CLAIM_PATIENCE_S)
        except ClientError as error:
            log.info("worker.claim_left_open", reason=str(error))
            return []
        return reply.tasks

    async def hand_back(self, membership: Membership, task: TaskView, reason: str) -> None:
        """Give a task back that does not run here; a master that cannot be reached finds out by itself."""
        request = HandBackRequest(node=membership.node, attempt=task.attempt, reason=reason)
        try:
            await self.client.do(work.hand_back(task.task, request), patience_s=LAST_CLAIM_PATIENCE_S)
        except ClientError as error:
            log.info("worker.not_handed_back", task=task.task, reason=str(error))

    async def rest(self, empties: int, stop: asyncio.Event) -> None:
        """Wait after an answer that came too early and empty, as a draining master gives, or after an error."""
        await self.clock.wait_event(stop, EMPTY_BACKOFF.ceiling_s(empties) * (0.5 + self.draw() / 2))
