"""People: they submit jobs under idempotency keys, steer them, fetch what came of them, and remember what they were told."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TypeVar

from msgspec import Struct

from chaos.plan import Order, Plan
from millrace.client import people
from millrace.client.async_client import AsyncClient
from millrace.client.calls import Answer, Call, segment
from millrace.client.errors import ClientError, NotFoundError, RefusedError
from millrace.client.http import Terms
from millrace.domain.states import FINAL
from millrace.wire.v1.jobs import JobDetail, JobRequest, Parameters
from sim.history import History
from sim.plan import Step
from sim.told import LABEL

T = TypeVar("T")
FAR_AWAY = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)
"""When a job may start that is to wait for ever."""
_LOOK_S = 0.5
_RUNS = {"nothing": 1.0, "short": 1.0, "long": 20.0}
"""Seconds of film."""


class Took(Struct, frozen=True):
    """A call that was answered: what it was, when it began (by the history's clock), how long it took with all repetitions, and the
    address of the master that was asked first.
    """

    what: str
    at_s: float
    took_s: float
    asked: str


class People:
    """All of them, through one list of addresses."""

    def __init__(self, plan: Plan, addresses: Sequence[str], key: str, media: Path, history: History) -> None:
        self.known: dict[int, str] = {}
        """For each job's index the id that a 2xx gave."""
        self.took: list[Took] = []
        self.fetched = 0
        """Outputs that were downloaded and compared."""
        self.final: dict[str, int] = {}
        self._plan, self._media, self._history = plan, media, history
        self._chance = Random(f"people:{plan.seed}")
        shuffled = list(addresses)
        # Several, so that not all of them lean on one master.
        self._clients = []
        for _ in range(3):
            self._chance.shuffle(shuffled)
            self._clients.append(AsyncClient(shuffled, Terms(key=key, draw=self._chance.random, patience_s=20.0)))

    async def close(self) -> None:
        """Hang up."""
        for client in self._clients:
            await client.close()

    async def do(self, what: str, call: Call[T]) -> T:
        """One call by one of them, noted with its time."""
        client = self._chance.choice(self._clients)
        began_s, at_s, asked = time.monotonic(), self._history.now(), client.address
        found = await client.do(call)
        self.took.append(Took(what, at_s, time.monotonic() - began_s, asked))
        return found

    async def live(self, over: asyncio.Event) -> None:
        """Do what the plan says; `over` ends the patience of who could not submit."""
        async with asyncio.TaskGroup() as group:
            for order in self._plan.orders:
                group.create_task(self._submit(order, over))
            for step in self._plan.steps:
                group.create_task(self._steer(step))

    async def _submit(self, order: Order, over: asyncio.Event) -> None:
        history = self._history
        await asyncio.sleep(order.at_s)
        request, key = self._request(order), f"chaos-{self._plan.seed}-{order.index}"
        while not over.is_set():
            try:
                found = await self.do("submit", people.submit(request, key=key))
            except ClientError as error:
                history.add("not-submitted", order.index, type(error).__name__, str(error)[:200])
                await asyncio.sleep(0.2 + self._chance.random())
                continue
            history.add("submitted", order.index, found.id, found.number)
            self.known[order.index] = found.id
            break
        else:
            return
        if order.asks_twice:
            await self._again(order, request, key)

    def _request(self, order: Order) -> JobRequest:
        waits = order.runs == "nothing"
        return JobRequest(
            scenario="360p24-h264" if order.runs == "long" else "144p10-h264",
            input=str(self._media.parent / "input" / "clip.mp4") if order.from_clip else None,
            output=str(self._media / f"film{order.index}") if order.to_folder else None,
            parameters=Parameters(
                preset="medium" if order.runs == "long" else "ultrafast",
                duration_s=None if order.from_clip else _RUNS[order.runs],
            ),
            labels={LABEL: str(order.index)},
            run_after=FAR_AWAY if waits else None,
            max_retries=100,  # a fault is no reason for a job to end otherwise than well
        )

    async def _again(self, order: Order, request: JobRequest, key: str) -> None:
        """The same request gives the same job; another one under its key is refused; the job is there on every master."""
        for call, name in (
            (people.submit(request, key=key), "again"),
            (people.submit(JobRequest(scenario="480p30-h264"), key=key), "other-body"),
            (people.job(self.known[order.index]), "seen"),
        ):
            try:
                found = await self.do(name, call)
                self._history.add(name, order.index, found.id)
            except RefusedError as error:
                self._history.add(name, order.index, f"{error.status} {error.kind}")
            except ClientError as error:
                self._history.add(name, order.index, type(error).__name__)

    async def _steer(self, step: Step) -> None:
        await asyncio.sleep(step.at_s)
        await self.steer(step.verb, step.index)

    async def steer(self, verb: str, index: int) -> str:
        """One verb on a job; what came of it."""
        verbs = {"cancel": people.cancel, "pause": people.pause, "resume": people.resume, "retry": people.retry}
        if index not in self.known:
            return "unknown"
        self._history.add("asks", verb, index)
        try:
            said = str((await self.do(verb, verbs[verb](self.known[index]))).state)
        except RefusedError as error:
            said = f"{error.status} {error.kind}"
        except ClientError as error:
            said = type(error).__name__
        self._history.add("told", verb, index, said)
        return said

    async def settle(self, deadline_s: float) -> list[str]:
        """When nothing goes wrong any more: cancel what waits for ever, let go on what is paused, and wait until every job has
        ended, or for so long. What has not.
        """
        waiting = {order.index for order in self._plan.orders if order.runs == "nothing"}
        async with asyncio.TaskGroup() as group:
            for index in waiting & self.known.keys():
                group.create_task(self._until_canceled(index, deadline_s))
        left = set(self.known.values())
        while left and time.monotonic() < deadline_s:
            for job_id in list(left):
                job = await self._look(job_id, left)
                if job is not None and job.state in FINAL:
                    left.discard(job_id)
                    self.final[job.state] = self.final.get(job.state, 0) + 1
                    await self._fetch(job)
                elif job is not None and job.state == "paused":
                    await self.steer("resume", next(index for index, one in self.known.items() if one == job_id))
            if left:
                await asyncio.sleep(_LOOK_S)
        return sorted(left)

    async def _until_canceled(self, index: int, deadline_s: float) -> None:
        while time.monotonic() < deadline_s:
            if (await self.steer("cancel", index)).startswith(("canceled", "404")):
                return
            await asyncio.sleep(_LOOK_S)

    async def _look(self, job_id: str, left: set[str]) -> JobDetail | None:
        try:
            return await self.do("look", people.job(job_id))
        except NotFoundError:
            left.discard(job_id)  # it is lost, as the store will show
        except ClientError as error:
            self._history.add("not-seen", job_id, type(error).__name__, str(error)[:200])
        return None

    async def _fetch(self, job: JobDetail) -> None:
        """Download what a master keeps of a job, and compare."""
        if job.state != "completed":
            return
        for output in job.outputs:
            if output.url is None:
                continue
            path = f"/v1/jobs/{segment(job.id)}/outputs/{'/'.join(map(segment, output.name.split('/')))}"
            data = await self.do("fetch", Call(method="GET", path=path, read=_body))
            self.fetched += 1
            digest = hashlib.sha256(data).hexdigest()
            self._history.add("fetched", job.id, output.name, digest == output.sha256 and len(data) == output.size)


def _body(answer: Answer) -> bytes:
    return answer.body
