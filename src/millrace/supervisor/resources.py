"""What every instance uses, and used lately. Nothing is looked at while nobody asks."""

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from millrace.process.census import Census, TreeUsage
from millrace.process.look import read_process
from millrace.process.mark import Mark
from millrace.runtime.clock import Clock
from millrace.supervisor.ledger import Histogram
from millrace.supervisor.state import Id

PERIOD_S = 2.0
"""How often it is looked while somebody watches; more often is not looked for anybody."""
WATCHED_S = 60.0
"""Somebody who asked is taken for watching so long."""
KEPT_S = 600.0
LOOK_BOUNDS_S = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)
MAX_SAMPLES = 30_000
"""Of all instances together: some 8 MB. Where there are many, each has a shorter past."""


class Root(Struct, frozen=True):
    """The process of an instance at present; `spent_s` is the CPU time of its runs before."""

    pid: int
    mark: Mark
    spent_s: float


class Sample(Struct, frozen=True, kw_only=True, gc=False):
    """One look at an instance. `cpu_s` is that of all its runs, `cpu_share` of one CPU since the look before (None: the first)."""

    at: datetime
    at_s: float
    cpu_s: float
    cpu_share: float | None
    usage: TreeUsage


def own_usage() -> Mapping[str, float]:
    """What this process uses by itself, without any that it started, by the names of its metrics."""
    us = read_process(os.getpid())
    return {
        "cpu_seconds_total": time.process_time(),
        "resident_memory_bytes": 0 if us is None else us.rss_bytes,
        "open_descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
    }


class Resources:
    """Samples of every instance that runs, as long as there is a supervisor and the instance."""

    def __init__(self, clock: Clock, roots: Callable[[], Mapping[Id, Root]]) -> None:
        """`roots` tells which process each instance has at present."""
        self._clock = clock
        self._roots = roots
        self._census = Census()
        self._rings: dict[Id, deque[Sample]] = {}
        self._now: dict[Id, Sample] = {}
        self._looked_s: float | None = None
        self._look: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._watched_until_s = 0.0
        self.look_s = Histogram(LOOK_BOUNDS_S)
        """How long looks took."""
        self.hidden: Counter[Id] = Counter()
        """Looks that could not see all of an instance."""

    async def now(self) -> Mapping[Id, Sample]:
        """A sample of every instance that runs, at most one period old."""
        if self._looked_s is None or self._clock.monotonic() - self._looked_s >= PERIOD_S:
            if self._look is None:
                self._look = asyncio.create_task(self._sample(), name="look at resources")
            await asyncio.shield(self._look)
        return self._now

    async def watched(self) -> Mapping[Id, Sample]:
        """As `now`; and go on looking for a while, so that there is a past when it is asked for again."""
        self._watched_until_s = self._clock.monotonic() + WATCHED_S
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._go_on(), name="watch resources")
        return await self.now()

    def past(self, each: Id, *, since: datetime | None, limit: int) -> list[Sample]:
        """The newest samples after a moment, oldest first."""
        ring = self._rings.get(each, ())
        return [sample for sample in ring if since is None or sample.at > since][-limit:]

    def forget(self, each: Id) -> None:
        """The instance is gone for good."""
        self._rings.pop(each, None)
        self._now.pop(each, None)
        self.hidden.pop(each, None)

    async def close(self) -> None:
        """Look no more. May be called twice."""
        for task in (self._watch, self._look):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _go_on(self) -> None:
        while self._clock.monotonic() < self._watched_until_s:
            await self.now()
            await self._clock.sleep(PERIOD_S)

    async def _sample(self) -> None:
        try:
            roots, at, at_s = self._roots(), self._clock.now(), self._clock.monotonic()
            marks = {root.pid: root.mark for root in roots.values()}
            # In a thread, so that nothing waits for a machine with thousands of processes.
            found = await asyncio.to_thread(self._census.look, marks)
            self._now = dict(self._samples(roots, found, at, at_s))
            self._looked_s = at_s
            self.look_s.add((), self._clock.monotonic() - at_s)
            self.hidden.update(each for each, sample in self._now.items() if sample.usage.hidden)
            most = min(round(KEPT_S / PERIOD_S), MAX_SAMPLES // max(1, len(roots)))
            for each, sample in self._now.items():
                ring = self._rings.setdefault(each, deque())
                ring.append(sample)
                while len(ring) > most or ring[0].at_s < at_s - KEPT_S:
                    ring.popleft()
        finally:
            self._look = None

    def _samples(
        self, roots: Mapping[Id, Root], found: Mapping[int, TreeUsage], at: datetime, at_s: float
    ) -> Iterator[tuple[Id, Sample]]:
        for each, root in roots.items():
            usage = found.get(root.pid)
            if usage is None:
                continue
            ring = self._rings.get(each)
            before = ring[-1] if ring else None
            cpu_s, share = root.spent_s + usage.cpu_s, None
            if before is not None:
                # What ends as an orphan takes its time along; a counter does not go back.
                cpu_s = max(cpu_s, before.cpu_s)
                share = (cpu_s - before.cpu_s) / max(at_s - before.at_s, 1e-9)
            yield each, Sample(at=at, at_s=at_s, cpu_s=cpu_s, cpu_share=share, usage=usage)
