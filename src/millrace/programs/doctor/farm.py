"""A farm that runs, as its master tells it."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import millrace
from millrace.client import people
from millrace.client.calls import Call
from millrace.client.client import Client
from millrace.client.errors import (
    ClientError,
    InterruptedTransferError,
    RefusedError,
    UnauthorizedError,
    UnreachableError,
)
from millrace.programs.doctor.finding import LIMIT_S, Look, failed, skipped, warning
from millrace.wire.v1.work import NodeView

T = TypeVar("T")
RECENT = 50
READ_BACK_BYTES = 64_000_000
"""How much of the newest outputs is read back."""
MANY = 0.2
"""Part of the newest jobs that may have failed before somebody should look."""


class FarmLook:
    """What can be asked of a master with a key."""

    def __init__(self, client: Client) -> None:
        """Nothing is asked yet."""
        self._client = client
        self._silent = False

    def checks(self) -> Mapping[str, Look]:
        """In the order of the report."""
        return {
            "farm.master": self._master,
            "farm.version": self._version,
            "farm.ready": self._ready,
            "farm.key": self._key,
            "farm.nodes": self._nodes,
            "farm.lost-nodes": self._lost,
            "farm.draining-nodes": self._draining,
            "farm.names": self._names,
            "farm.waiting-jobs": self._waiting,
            "farm.failures": self._failures,
            "farm.outputs": self._outputs,
        }

    async def _ask(self, call: Call[T]) -> T:
        if self._silent:
            raise skipped("no master answers")
        return await asyncio.to_thread(self._client.do, call)

    async def _master(self) -> str:
        try:
            health = await self._ask(people.health())
        except UnreachableError as error:
            self._silent = True
            raise skipped(str(error)) from error
        except RefusedError as error:
            raise failed(str(error), "look at its log, and at its database") from error
        return f"{health.status}, its store {health.store}"

    async def _version(self) -> str:
        found = (await self._ask(people.health())).version
        if found != millrace.__version__:
            raise warning(
                f"{found}, and this is {millrace.__version__}",
                "upgrade the older one; neighbouring versions work together",
            )
        return found

    async def _ready(self) -> str:
        try:
            return (await self._ask(people.ready())).reason
        except RefusedError as error:
            raise failed(str(error), "a balancer sends it no traffic; look at its log") from error

    async def _key(self) -> str:
        try:
            await self._ask(people.jobs(limit=1))
        except UnauthorizedError as error:
            raise failed(str(error), "give MILLRACE_API_KEY or --api-key-file") from error
        return "it is accepted"

    async def _known(self) -> Sequence[NodeView]:
        try:
            return (await self._ask(people.nodes())).nodes
        except ClientError as error:
            raise skipped(str(error)) from error

    async def _nodes(self) -> str:
        nodes = await self._known()
        slots = sum(node.slots for node in nodes if node.state == "ready")
        text = f"{len(nodes)} known, {slots} slot{'s' * (slots != 1)} ready for work"
        if not slots:
            raise warning(text, "start a worker: millrace worker --master URL")
        return text

    def _none(self, nodes: Sequence[NodeView], is_one: Callable[[NodeView], bool], remedy: str) -> str:
        found = [node.name for node in nodes if is_one(node)]
        if found:
            raise warning(", ".join(found), remedy)
        return "none"

    async def _lost(self) -> str:
        remedy = "start its worker again, or forget it: millrace nodes remove NODE"
        return self._none(await self._known(), lambda node: node.state == "lost", remedy)

    async def _draining(self) -> str:
        remedy = "it takes no more work; let it again: millrace nodes resume NODE"
        return self._none(await self._known(), lambda node: node.state == "draining", remedy)

    async def _names(self) -> str:
        counts = Counter(node.name for node in await self._known())
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise warning(
                f"several nodes are called {', '.join(twice)}", "set MILLRACE_NODE_NAME, or speak of them by id"
            )
        return "every node has its own"

    async def _waiting(self) -> str:
        waiting = (await self._ask(people.jobs(states=("queued",), limit=RECENT))).jobs
        nodes = await self._known()
        able = any(node.state == "ready" for node in nodes)
        text = f"{len(waiting)}{' or more' * (len(waiting) == RECENT)}"
        if waiting and not able:
            raise warning(text, "no node is ready to take them")
        return text

    async def _failures(self) -> str:
        newest = (await self._ask(people.jobs(limit=RECENT))).jobs
        ended = [job for job in newest if job.state in ("completed", "failed", "rejected")]
        bad = [job for job in ended if job.state != "completed"]
        text = f"{len(bad)} of the newest {len(ended)} that ended"
        if ended and len(bad) > MANY * len(ended):
            classes = Counter(job.failure.failure_class for job in bad if job.failure is not None)
            told = ", ".join(f"{count} {name}" for name, count in classes.most_common())
            raise warning(f"{text} ({told})", "see why: millrace jobs list --state failed")
        return text

    async def _outputs(self) -> str:
        """Read back the newest outputs that masters keep, and compare them with what was recorded."""
        damaged, count, size = [], 0, 0
        for job in (await self._ask(people.jobs(states=("completed",), limit=RECENT))).jobs:
            for output in (await self._ask(people.job(job.id))).outputs:
                if output.url is None or size + output.size > READ_BACK_BYTES:
                    continue
                count, size = count + 1, size + output.size
                if await asyncio.to_thread(self._digest, output.url) != output.sha256:
                    damaged.append(f"{output.name} of job {job.number}")
        if damaged:
            raise failed(
                f"{', '.join(damaged[:5])}: not what was recorded",
                "look at the disk that keeps them, and run those jobs again",
            )
        return f"{count} that a master keeps, {size / 1e6:.0f} MB, are what was recorded"

    def _digest(self, url: str) -> str:
        """SHA-256 of what a master serves there; nothing where it serves nothing, or not all of it."""
        found = hashlib.sha256()
        call = Call(method="GET", path=url, read=lambda _: None, silence_s=LIMIT_S)
        try:
            with self._client.stream(call) as response:
                for piece in response.iter_raw():
                    found.update(piece)
        except (RefusedError, InterruptedTransferError):
            return ""
        return found.hexdigest()
