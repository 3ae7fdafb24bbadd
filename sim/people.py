"""People: they submit jobs, alone, in batches and by schedules, steer them, and remember what they were told."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from millrace.client import many, people
from millrace.client.calls import Call
from millrace.client.errors import ClientError, NotFoundError, RefusedError
from millrace.client.http import Terms
from millrace.wire.v1.batches import BatchRequest
from millrace.wire.v1.jobs import JobRequest
from millrace.wire.v1.schedules import ScheduleRequest
from sim.machines import BEGINNING, Host, Process
from sim.network import SimAsyncClient
from sim.plan import JobPlan, SchedulePlan, Step
from sim.told import LABEL

if TYPE_CHECKING:
    from sim.world import World

T = TypeVar("T")
KEY = "mr_simulation_key"
SCHEDULE = "schedule"
"""The label under which a job of a schedule carries its index in the plan."""
_CALM_S = 15.0
"""How long after the last fault there is a leader again that runs what is due."""
_TRIES = 200


class People:
    """All of them."""

    def __init__(self, world: "World", host: Host) -> None:
        self.world = world
        self.host = host
        self.process = Process(world, "people", host)
        self.chance = random.Random(f"{world.plan.seed}:people")
        self.known: dict[int, str] = {}  # index in the plan -> id of the job, from a 2xx
        self.tasks: list[asyncio.Task[None]] = []
        self._keeping: list[asyncio.Task[None]] = []  # of them, those that make schedules

    def start(self) -> None:
        """Begin with what the plan says."""
        plan = self.world.plan
        batches: dict[int, list[JobPlan]] = {}
        for job in plan.jobs:
            if job.batch is None:
                self.tasks.append(self.process.begin(self._submit(job)))
            else:
                batches.setdefault(job.batch, []).append(job)
        for batch, jobs in batches.items():
            self.tasks.append(self.process.begin(self._submit_batch(batch, jobs)))
        for schedule in plan.schedules:
            self._keeping.append(self.process.begin(self._keep_schedule(schedule)))
        self.tasks += self._keeping
        for step in plan.steps:
            self.tasks.append(self.process.begin(self._steer(step)))

    def client(self) -> SimAsyncClient:
        """One that begins anywhere."""
        urls = [master.url for master in self.world.farm.masters]
        self.chance.shuffle(urls)
        return SimAsyncClient(
            self.process, urls, Terms(key=KEY, clock=self.host.clock, draw=self.chance.random, patience_s=20.0)
        )

    async def do(self, call: Call[T], *, patience_s: float | None = 20.0) -> T:
        """One call, at a master chosen by chance first."""
        return await self.client().do(call, patience_s=patience_s)

    async def _insist(self, call: Call[T], what: object) -> T | None:
        """What somebody asks for again and again, until it is answered; None where it is wrong."""
        for _ in range(_TRIES):
            try:
                return await self.do(call)
            except ClientError as error:
                self.world.history.add("not-submitted", what, type(error).__name__)
                if isinstance(error, RefusedError) and error.status in (400, 422):
                    return None
                await self.host.clock.sleep(1.0 + self.chance.random() * 2)
        return None

    # Jobs -------------------------------------------------------------------------------------------------------------

    async def _submit(self, job: JobPlan) -> None:
        await self.host.clock.sleep(job.at_s)
        if not await self._know(job.after):
            return
        request, key = self._request(job), f"key-{job.index}"
        found = await self._insist(people.submit(request, key=key), job.index)
        if found is None:
            return
        self._told(job.index, found.id, found.number)
        if job.asks_twice:
            await self._again(job, request, key)

    def _told(self, index: int, job_id: str, number: int) -> None:
        self.world.history.add("submitted", index, job_id, number)
        self.known[index] = job_id

    async def _know(self, indexes: Sequence[int]) -> bool:
        """Wait for the ids of other jobs; whether they came."""
        for _ in range(_TRIES):
            if self.known.keys() >= set(indexes):
                return True
            await self.host.clock.sleep(1.0)
        return False

    def _request(self, job: JobPlan) -> JobRequest:
        # Whoever asks for a time means the right one, whatever the clocks of hosts say.
        later = BEGINNING + timedelta(seconds=self.world.loop.time() + job.later_s) if job.later_s else None
        return JobRequest(
            scenario="720p30-h264",
            input=str(self.world.film) if job.chunks else None,
            output=str(self.world.media / f"film{job.index}") if job.to_folder else None,
            overwrite=job.overwrite,
            queue=job.queue,
            priority=job.priority,
            labels={LABEL: str(job.index)},
            requires=job.requires,
            max_retries=job.max_retries,
            run_after=later,
            after=[self.known[index] for index in job.after],
            after_any_end=job.any_end,
        )

    async def _again(self, job: JobPlan, request: JobRequest, key: str) -> None:
        """The same request gives the same job; another one under its key is refused; the job is there on every master."""
        history = self.world.history
        for call, name in (
            (people.submit(request, key=key), "again"),
            (people.submit(JobRequest(scenario="480p30-h264"), key=key), "other-body"),
            (people.job(self.known[job.index]), "seen"),
        ):
            try:
                found = await self.do(call)
                history.add(name, job.index, found.id)
            except RefusedError as error:
                history.add(name, job.index, f"{error.status} {error.kind}")
            except ClientError as error:
                history.add(name, job.index, type(error).__name__)

    # Many of them -----------------------------------------------------------------------------------------------------

    async def _submit_batch(self, batch: int, jobs: Sequence[JobPlan]) -> None:
        await self.host.clock.sleep(jobs[0].at_s)
        if not await self._know([index for job in jobs for index in job.after]):
            return
        request = BatchRequest(name=f"batch{batch}", jobs=[msgspec.to_builtins(self._request(job)) for job in jobs])
        for _ in range(1 + jobs[0].asks_twice):
            found = await self._insist(many.submit_batch(request, key=f"batch-{batch}"), f"batch{batch}")
            if found is None:
                return
            self.world.history.add("batch", batch, found.id)
        page = await self._insist(many.batch_jobs(found.id), f"the jobs of batch{batch}")
        for job in () if page is None else page.jobs:
            self._told(int(job.labels[LABEL]), job.id, job.number)

    async def _keep_schedule(self, schedule: SchedulePlan) -> None:
        await self.host.clock.sleep(schedule.at_s)
        job = msgspec.structs.replace(self._request(schedule.job), labels={SCHEDULE: str(schedule.index)})
        request = ScheduleRequest(name=schedule.name, cron=schedule.cron, job=job, overlap=schedule.overlap)
        for _ in range(_TRIES):
            try:
                await self.do(many.create_schedule(request))
            except ClientError as error:
                # It may have been made all the same, and then there is one of its name.
                self.world.history.add("not-scheduled", schedule.index, type(error).__name__)
                if isinstance(error, RefusedError) and error.status == 409:
                    return
                await self.host.clock.sleep(1.0 + self.chance.random() * 2)
            else:
                self.world.history.add("scheduled", schedule.index)
                return

    async def end_schedules(self) -> None:
        """Let no more jobs come by themselves, once it is seen that those which are due do come."""
        if not self._keeping:
            return
        await asyncio.wait(self._keeping)
        await self.host.clock.sleep(_CALM_S)
        self.world.many.look_for_overdue()
        for schedule in self.world.plan.schedules:
            try:
                await self.do(many.steer_schedule(schedule.name, "pause"), patience_s=None)
            except NotFoundError:
                self.world.history.add("never-scheduled", schedule.index)

    # What is there already --------------------------------------------------------------------------------------------

    async def _steer(self, step: Step) -> None:
        await self.host.clock.sleep(step.at_s)
        await self.steer(step.verb, step.index)

    async def steer(self, verb: str, index: int) -> str:
        """One verb on a job or a node; what came of it."""
        calls: dict[str, Callable[[str], Call[Any]]] = {
            "cancel": people.cancel,
            "pause": people.pause,
            "resume": people.resume,
            "retry": people.retry,
            "drain": people.drain_node,
            "undrain": people.resume_node,
        }
        ref = f"worker{index}" if verb in ("drain", "undrain") else self.known.get(index)
        if ref is None:
            return "unknown"
        self.world.history.add("asks", verb, index)
        try:
            found = await self.do(calls[verb](ref))
        except RefusedError as error:
            said = f"{error.status} {error.kind}"
        except ClientError as error:
            said = type(error).__name__
        else:
            said = str(found.state)
        self.world.history.add("told", verb, index, said)
        return said
