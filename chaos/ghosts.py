"""Ghosts: they speak for attempts that are over and for epochs that have passed, as a worker would that slept through it all.

Real workers fall silent when they hear that they have lost their lease; so a fence that is gone would hardly be noticed
without somebody who goes on talking.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from millrace.client import people, work
from millrace.client.async_client import AsyncClient
from millrace.client.calls import Call
from millrace.client.errors import ClientError, NotFoundError
from millrace.domain.failures import FailureClass
from millrace.wire.v1.jobs import AttemptView
from millrace.wire.v1.work import CompleteRequest, FailRequest, HandBackRequest, HeartbeatRequest, StartRequest

PERIOD_S = 0.7


class Ghosts:
    """All of them."""

    def __init__(
        self,
        client: AsyncClient,
        known: Mapping[int, str],
        folder: Path,
        chance: Random,
        fail: Callable[[str, str], None],
    ) -> None:
        """`known` are the jobs; `fail` hears of what was taken from a ghost."""
        self.sent = self.taken = 0
        self._client, self._known, self._chance, self._fail = client, known, chance, fail
        self._file = folder / "ghost"
        self._file.write_bytes(b"ghost")

    async def haunt(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._speak_of_nodes()
                if self._known:
                    await self._speak_of(self._chance.choice(sorted(self._known.values())))
            except ClientError:
                pass  # nobody was there to hear it
            await asyncio.sleep(PERIOD_S)

    async def _speak_of_nodes(self) -> None:
        nodes = (await self._client.do(people.nodes())).nodes
        if nodes:
            node = self._chance.choice(nodes)
            old = HeartbeatRequest(epoch=node.epoch - 1)
            call = work.heartbeat(node.id, old, silence_s=10.0)
            await self._say("I3", f"a heartbeat of {node.name} under epoch {old.epoch}, which has {node.epoch},", call)

    async def _speak_of(self, job_id: str) -> None:
        job = await self._client.do(people.job(job_id))
        over = [one for one in job.attempts if one.ended is not None]
        if not over:
            return
        attempt = self._chance.choice(over)
        what, invariant, call = self._chance.choice(self._words(attempt))
        await self._say(
            invariant, f"{what} of attempt {attempt.attempt} of {attempt.task}, which is {attempt.outcome},", call
        )

    def _words(self, of: AttemptView) -> list[tuple[str, str, Call[Any]]]:
        """What must not be taken of an attempt that is over: all but the report that ended it, which may come twice."""
        fence = {"node": of.node, "attempt": of.attempt}
        ends: dict[str, Call[Any]] = {
            "completed": work.complete(of.task, CompleteRequest(**fence)),
            "failed": work.fail(of.task, FailRequest(**fence, failure_class=FailureClass.ENGINE, message="a ghost")),
            "handed_back": work.hand_back(of.task, HandBackRequest(**fence, reason="a ghost")),
        }
        words = [(f"the report '{name}'", "I3", call) for name, call in ends.items() if name != of.outcome]
        words.append(("the start", "I3", work.start(of.task, StartRequest(**fence))))
        put = work.put_output(of.task, **fence, name="video.mp4", path=self._file, size=5)
        words.append(("an output", "I13", put))
        return words

    async def _say(self, invariant: str, what: str, call: Call[Any]) -> None:
        self.sent += 1
        try:
            await self._client.do(call)
        except NotFoundError:
            self.sent -= 1
        except ClientError:
            return
        else:
            self.taken += 1
            self._fail(invariant, f"{what} was taken from a ghost")
