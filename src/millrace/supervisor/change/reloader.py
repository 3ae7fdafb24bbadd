"""Read the plan again and let it take the place of the one that is kept: by a signal, over the API, or when its files change."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from millrace.runtime.clock import Clock
from millrace.supervisor.change.difference import Difference, difference
from millrace.supervisor.change.reloads import Outcome, Reload
from millrace.supervisor.change.watching import watch
from millrace.supervisor.plan import Plan
from millrace.supervisor.plans import saved
from millrace.supervisor.plans.findings import PlanError
from millrace.supervisor.plans.layers import Amendments, Layers, Saving
from millrace.supervisor.state import Event, Replanned
from millrace.telemetry.logs import logger

log = logger("supervisor")
_Found = TypeVar("_Found")


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

    @property
    def changes(self) -> Path:
        """Where changes are saved."""

    @property
    def environ(self) -> Mapping[str, str]:
        """What fills in variables."""

    async def read(self, unsaved: Amendments) -> Layers:
        """The plan as it stands there now, and on top of it what was not saved. Raises PlanError."""
        ...

    async def saving(self, layers: Layers) -> Saving:
        """What to save, so that all of these is kept. Raises PlanError: the plan could not work at the next start."""
        ...

    async def files(self) -> Iterable[Path]:
        """Every file that it is made of now, and every folder in which one more would count."""
        ...


class Reloader:
    """Lets another plan take the place of the one that is kept: from its file, or changed here. One that cannot work changes nothing.

    To read takes its time, and what is kept may change meanwhile. So what was read is for the layers that are in force when
    it is returned, and holds until its caller waits for something else.
    """

    def __init__(self, source: Source, layers: Layers, keeper: Planned, clock: Clock) -> None:
        """`layers` are of the plan that the keeper has.

        Call `follow` once it runs, and whenever it keeps another plan; `told` of what becomes of changes; at the end, `close`.
        """
        self.source = source
        """Where the plan comes from."""
        self._keeper = keeper
        self._clock = clock
        self._count = 0
        self._layers = self._settled = layers
        self._pending: dict[int, Layers] = {}  # what each change that is not known to be up is made of
        self.version = 1
        """Grows with every other plan, so that who changes one can say which one was meant."""
        self._one_at_a_time = asyncio.Lock()
        self._asked: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._debounce_s = 0.0

    @property
    def layers(self) -> Layers:
        """What the plan in force is made of."""
        return self._layers

    @property
    def is_pending(self) -> bool:
        """Whether it is not known yet what becomes of the last change."""
        return self._count in self._pending

    async def preview(self, *, discard: bool = False) -> Difference:
        """What a reload would do now. Raises as `reload`."""
        return self.compare(await self._read(discard=discard))

    def compare(self, layers: Layers) -> Difference:
        """What these would change."""
        return difference(self._keeper.plan, layers.plan)

    async def reload(self, by: str, *, discard: bool = False) -> tuple[int, list[str]]:
        """Have the plan of the file kept from now on. `by` says for the log who asked.

        What was changed here and not saved stays on top of it, unless `discard` drops that. Returns the number of this change,
        and the names of the processes that stayed, or were dropped.

        Raises:
            PlanError: the plan cannot work; nothing was changed.
        """
        async with self._one_at_a_time:  # what was read last is kept last, and nobody has us read many times at once
            try:
                layers = await self._read(discard=discard)
            except PlanError as error:
                faults = [str(finding) for finding in error.findings]
                log.warning("supervisor.reload_refused", by=by, plan=str(self.source.path), faults=faults)
                raise
            if layers.unsaved:
                log.warning(
                    "supervisor.unsaved_kept", processes=sorted(layers.unsaved),
                    hint="`millrace ctl save` keeps them for good, `millrace ctl reload --discard` drops them",
                )  # fmt: skip
            names = sorted(self._layers.unsaved)
            return self.change(by, layers), names

    def change(self, by: str, layers: Layers) -> int:
        """Have the plan of these kept from now on; the number of this change."""
        self._count += 1
        log.info("supervisor.reload_asked", by=by, reload=self._count, plan=str(self.source.path))
        if not self.compare(layers).nothing:
            self.version += 1
        self._layers = self._pending[self._count] = layers
        self._keeper.post(Replanned(layers.plan, self._count))
        return self._count

    def told(self, reload: Reload) -> None:
        """What has become of a change: one that was taken back takes its layers along."""
        if reload.outcome in (Outcome.APPLIED, Outcome.FAILED) and reload.number in self._pending:
            self._settled = self._pending[reload.number]
        elif reload.outcome is Outcome.ROLLED_BACK and reload.number == self._count:
            self._layers = self._settled
            self.version += 1
        if reload.outcome is not Outcome.PENDING:
            self._pending.pop(reload.number, None)

    async def saving(self) -> Saving:
        """What `save` takes, to save what was changed here beside the plan.

        Raises:
            PlanError: with what the files say now, the plan could not work at the next start.
        """
        return await self._unchanged(self.source.saving)

    def save(self, found: Saving) -> None:
        """Save it. To be called once `saving` has returned it, before anything else is waited for.

        Raises:
            OSError: the file cannot be written.
        """
        saved.keep(self.source.changes, found.text)
        self._layers = self._layers.all_saved()
        if not self.is_pending:
            self._settled = self._layers

    async def _read(self, *, discard: bool) -> Layers:
        return await self._unchanged(lambda layers: self.source.read({} if discard else layers.unsaved))

    async def _unchanged(self, ask: Callable[[Layers], Awaitable[_Found]]) -> _Found:
        """What is found for the layers in force, whatever changes while it is looked for."""
        while True:
            layers = self._layers
            try:
                found = await ask(layers)
            except PlanError:
                if layers is self._layers:
                    raise
            else:
                if layers is self._layers:
                    return found

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
                self.source.files,
                lambda: self.asked("a changed file"),
                clock=self._clock,
                debounce_s=debounce_s,
                watching=lambda: log.info("supervisor.watching", plan=str(self.source.path)),
            )
        except OSError as error:
            log.warning(
                "supervisor.cannot_watch", plan=str(self.source.path), why=error.strerror or str(error),
                hint="reload by SIGHUP or `millrace ctl reload`",
            )  # fmt: skip
