"""What the overview shows, read as of one moment, so that its figures agree with its lists."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct

from millrace.domain.batches import Batch
from millrace.domain.records import Job, Node
from millrace.domain.schedules import Schedule
from millrace.domain.states import State
from millrace.runtime.clock import Clock
from millrace.store.store import JobFilter, JobPage, Store

PAGE_JOBS = 30
RUNNING = (State.ASSIGNED, State.PROCESSING)
_FAILURES = 5
_BATCHES = 5
_SCHEDULES = 8
_TRIES = 3
_COSTLY_S = 0.05
_SHARE = 20
T = TypeVar("T")


class Reading(Struct, frozen=True, kw_only=True):
    """The farm at one moment. `running`, `failures` and `batches` are the newest of their kind, whatever the page shows; of
    `schedules` those come first that are due first.

    `shared`: what had to be counted is that of a moment ago, and worth another look soon.
    """

    shared: bool
    counts: Mapping[State, int]
    page: JobPage
    running: Sequence[Job]
    failures: Sequence[Job]
    nodes: Sequence[Node]
    batches: Sequence[Batch]
    schedules: Sequence[Schedule]
    now: datetime


class Counted(Generic[T]):
    """What has to be counted, for all who look: where that takes its time (many jobs), the answer of a moment ago has to do."""

    def __init__(self, count: Callable[[Store], Awaitable[T]]) -> None:
        """Nothing is counted yet."""
        self._count = count
        self._known: T | None = None
        self._good_until_s = 0.0

    async def get(self, store: Store, clock: Clock) -> tuple[T, bool]:
        """The answer, and whether it is one of a moment ago."""
        began_s = clock.monotonic()
        if self._known is not None and began_s < self._good_until_s:
            return self._known, True
        self._known = known = await self._count(store)
        took_s = clock.monotonic() - began_s
        self._good_until_s = began_s + _SHARE * took_s if took_s > _COSTLY_S else 0.0
        return known, False

    def forget(self) -> None:
        """Something happened since."""
        self._good_until_s = 0.0


class Reader:
    """Reads for everybody who looks at a master's pages."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._counts = Counted(_states)
        self._batches = Counted(_newest_batches)

    async def read(self, store: Store, clock: Clock, only: JobFilter, cursor: str | None) -> Reading:
        """Everything; `cursor` is that of a page of jobs, and the first page is shown where it is none.

        A store answers each question for itself, so it is asked again where something happened between the answers.
        Where something happens all the time, the last answers have to do: they are as far apart as one takes.
        """
        for tried in range(1, _TRIES + 1):
            before = await store.last_cursor()
            reading = await self._once(store, clock, only, cursor)
            if reading.shared or tried == _TRIES or await store.last_cursor() == before:
                return reading
            self._counts.forget()
            self._batches.forget()
        raise AssertionError("unreachable")

    async def _once(self, store: Store, clock: Clock, only: JobFilter, cursor: str | None) -> Reading:
        (counts, shared), (batches, old), (page, running, failures), nodes, schedules, now = await asyncio.gather(
            self._counts.get(store, clock),
            self._batches.get(store, clock),
            _jobs(store, only, cursor),
            store.nodes(),
            store.schedules(),
            store.now(),
        )
        return Reading(
            shared=shared or old,
            counts=counts,
            page=page,
            running=running,
            failures=failures,
            nodes=nodes,
            batches=batches,
            schedules=sorted(schedules, key=_turn)[:_SCHEDULES],
            now=now,
        )


async def _states(store: Store) -> Mapping[State, int]:
    return await store.count_jobs()


async def _newest_batches(store: Store) -> Sequence[Batch]:
    return await store.batches(tenant=None, below=None, limit=_BATCHES)


def _turn(schedule: Schedule) -> tuple[bool, float, str]:
    """By its next time; those that are paused come last."""
    due = schedule.due_at
    return due is None, due.timestamp() if due else 0.0, schedule.name


async def _jobs(store: Store, only: JobFilter, cursor: str | None) -> tuple[JobPage, Sequence[Job], Sequence[Job]]:
    """The page that is asked for, what runs, and what failed last."""
    failed = JobFilter(states=frozenset({State.FAILED, State.REJECTED}))
    page, running, failures = await asyncio.gather(
        _page(store, only, cursor),
        store.jobs(JobFilter(states=frozenset(RUNNING)), cursor=None, limit=PAGE_JOBS),
        store.jobs(failed, cursor=None, limit=_FAILURES),
    )
    return page, running.jobs, failures.jobs


async def _page(store: Store, only: JobFilter, cursor: str | None) -> JobPage:
    try:
        return await store.jobs(only, cursor=cursor, limit=PAGE_JOBS)
    except ValueError:
        return await store.jobs(only, cursor=None, limit=PAGE_JOBS)
