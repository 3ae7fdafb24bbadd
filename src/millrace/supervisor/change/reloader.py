"""Read the plan again and let it take the place of the one that is kept: by a signal, over the API, or when its files change."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from millrace.runtime.clock import Clock
from millrace.supervisor.change.difference import Difference, difference
from millrace.supervisor.change.watching import watch
from millrace.supervisor.plan import Plan
from millrace.supervisor.plans.findings import PlanError
from millrace.supervisor.state import Event, Replanned
from millrace.telemetry.logs import logger

log = logger("supervisor")


class Planned(Protocol):
    """What is asked of a keeper."""

    @property
    def plan(self) -> Plan:
        """The plan that it keeps."""

    def post(self, event: Event) -> None:
        """Let the machine know of something."""


class Source(Protocol):
    """Where the plan comes from."""

    @property
    def path(self) -> Path:
        """The file."""

    async def read(self) -> Plan:
        """The plan as it stands there now. Raises PlanError."""
        ...

    async def files(self) -> Iterable[Path]:
        """Every file that it is made of now, and every folder in which one more would count."""
        ...


class Reloader:
    """Reads a plan's file again. A plan that cannot work changes nothing."""

    def __init__(self, source: Source, keeper: Planned, clock: Clock) -> None:
        """Call `follow` once the keeper runs, and whenever it keeps another plan; at the end, `close`."""
        self._source = source
        self._keeper = keeper
        self._clock = clock
        self._count = 0
        self._one_at_a_time = asyncio.Lock()
        self._asked: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._debounce_s = 0.0

    async def preview(self) -> Difference:
        """What a reload would do now.

        Raises:
            PlanError: the plan cannot work.
        """
        return difference(self._keeper.plan, await self._source.read())

    async def reload(self, by: str) -> int:
        """Have the plan of the file kept from now on; the number of this change. `by` says for the log who asked.

        Raises:
            PlanError: the plan cannot work; nothing was changed.
        """
        async with self._one_at_a_time:  # what was read last is kept last
            try:
                plan = await self._source.read()
            except PlanError as error:
                faults = [str(finding) for finding in error.findings]
                log.warning("supervisor.reload_refused", by=by, plan=str(self._source.path), faults=faults)
                raise
            self._count += 1
            log.info("supervisor.reload_asked", by=by, reload=self._count, plan=str(self._source.path))
            self._keeper.post(Replanned(plan, self._count))
            return self._count

    def asked(self, by: str) -> None:
        """As `reload`, by somebody who is not there for an answer: a refusal stands in the log."""
        task = asyncio.create_task(self._reload_unheard(by), name="reload the plan")
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _reload_unheard(self, by: str) -> None:
        with suppress(PlanError):
            await self.reload(by)

    def follow(self, plan: Plan) -> None:
        """Watch the files, if this plan says so."""
        rule = plan.reloading
        if (
            self._watching is not None
            and not self._watching.done()
            and rule.watch
            and rule.debounce_s == self._debounce_s
        ):
            return
        self._end_watching()
        if rule.watch:
            self._debounce_s = rule.debounce_s
            self._watching = asyncio.create_task(self._watch(rule.debounce_s), name="watch the plan")

    async def close(self) -> None:
        """Watch no longer, and read nothing more."""
        tasks = [*self._asked, *([self._watching] if self._watching is not None else [])]
        self._watching = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self, debounce_s: float) -> None:
        try:
            await watch(
                self._source.files,
                lambda: self.asked("a changed file"),
                clock=self._clock,
                debounce_s=debounce_s,
                watching=lambda: log.info("supervisor.watching", plan=str(self._source.path)),
            )
        except OSError as error:
            log.warning(
                "supervisor.cannot_watch", plan=str(self._source.path), why=error.strerror or str(error),
                hint="reload by SIGHUP or `millrace ctl reload`",
            )  # fmt: skip
