"""What the overview shows, read as of one moment, so that its figures agree with its lists."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from millrace.domain.records import Job, Node
from millrace.domain.states import State
from millrace.runtime.clock import Clock
from millrace.store.store import JobFilter, JobPage, Store

PAGE_JOBS = 30
RUNNING = (State.ASSIGNED, State.PROCESSING)
_FAILURES = 5
_TRIES = 3
_COSTLY_S = 0.05
_SHARE = 20


class Reading(Struct, frozen=True, kw_only=True):
    """The farm at one moment. `running` and `failures` are the newest of their kind, whatever the page shows.

    `shared`: the counts are those of a moment ago, and worth another look soon.
    """

    shared: bool
    counts: Mapping[State, int]
    page: JobPage
    running: Sequence[Job]
    failures: Sequence[Job]
    nodes: Sequence[Node]
    now: datetime


class Reader:
    """Reads for everybody who looks at a master's pages."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self._counts: Mapping[State, int] = {}
        self._good_until_s = 0.0

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
            self._good_until_s = 0.0
        raise AssertionError("unreachable")

    async def _once(self, store: Store, clock: Clock, only: JobFilter, cursor: str | None) -> Reading:
        failed = JobFilter(states=frozenset({State.FAILED, State.REJECTED}))
        (counts, shared), page, running, failures, nodes, now = await asyncio.gather(
            self._count(store, clock),
            _page(store, only, cursor),
            store.jobs(JobFilter(states=frozenset(RUNNING)), cursor=None, limit=PAGE_JOBS),
            store.jobs(failed, cursor=None, limit=_FAILURES),
            store.nodes(),
            store.now(),
        )
        return Reading(
            shared=shared, counts=counts, page=page, running=running.jobs, failures=failures.jobs, nodes=nodes, now=now
        )

    async def _count(self, store: Store, clock: Clock) -> tuple[Mapping[State, int], bool]:
        """The counts of now; where counting takes its time (many jobs), those of a moment ago, and that it is so."""
        began_s = clock.monotonic()
        if began_s < self._good_until_s:
            return self._counts, True
        self._counts = await store.count_jobs()
        took_s = clock.monotonic() - began_s
        self._good_until_s = began_s + _SHARE * took_s if took_s > _COSTLY_S else 0.0
        return self._counts, False


async def _page(store: Store, only: JobFilter, cursor: str | None) -> JobPage:
    try:
        return await store.jobs(only, cursor=cursor, limit=PAGE_JOBS)
    except ValueError:
        return await store.jobs(only, cursor=None, limit=PAGE_JOBS)
