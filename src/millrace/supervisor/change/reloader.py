"""Read the plan again and let it take the place of the one that is kept: by a signal, over the API, or when its files change."""

import asyncio
from typing import Protocol

from millrace.runtime.clock import Clock
from millrace.supervisor.change.difference import Difference, difference
from millrace.supervisor.change.reloads import Outcome, Reload
from millrace.supervisor.change.watching import watch
from millrace.supervisor.plan import Plan
from millrace.supervisor.plan_document import PlanError
from millrace.supervisor.plans.file import PlanFile
from millrace.supervisor.plans.layers import Layers
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


class Reloader:
    """Lets another plan take the place of the one that is kept: from its file, or changed here. One that cannot work changes nothing."""

    def __init__(self, source: PlanFile, keeper: Planned, clock: Clock) -> None:
        """Call `follow` once the keeper runs, and whenever it keeps another plan; `told` of what becomes of changes; at the end, `close`."""
        self._source = source
        self._keeper = keeper
        self._clock = clock
        self._count = 0
        self._layers = self._settled = source.layers
        self._asked: dict[int, Layers] = {}  # what each change that is not known to be up is made of
        self.version = 1
        """Grows with every other plan, so that who changes one can say which one was meant."""
        self._watching: asyncio.Task[None] | None = None
        self._debounce_s = 0.0

    @property
    def layers(self) -> Layers:
        """What the plan in force is made of."""
        return self._layers

    @property
    def source(self) -> PlanFile:
        """Where the plan comes from."""
        return self._source

    @property
    def is_pending(self) -> bool:
        """Whether it is not known yet what becomes of the last change."""
        return self._count in self._asked

    def preview(self, *, discard: bool = False) -> Difference:
        """What a reload would do now. Raises as `reload`."""
        return self.compare(self._read(discard=discard))

    def compare(self, layers: Layers) -> Difference:
        """What these would change."""
        return difference(self._keeper.plan, layers.plan)

    def reload(self, by: str, *, discard: bool = False) -> int:
        """Have the plan of the file kept from now on; the number of this change. `by` says for the log who asked.

        What was changed here and not saved stays on top of it, unless `discard` drops that.

        Raises:
            PlanError: the plan cannot work; nothing was changed.
        """
        try:
            layers = self._read(discard=discard)
        except PlanError as error:
            faults = [str(finding) for finding in error.findings]
            log.warning("supervisor.reload_refused", by=by, plan=str(self._source.path), faults=faults)
            raise
        if layers.unsaved:
            log.warning(
                "supervisor.unsaved_kept", processes=sorted(layers.unsaved),
                hint="`millrace ctl save` keeps them for good, `millrace ctl reload --discard` drops them",
            )  # fmt: skip
        return self.change(by, layers)

    def change(self, by: str, layers: Layers) -> int:
        """Have the plan of these kept from now on; the number of this change."""
        self._count += 1
        log.info("supervisor.reload_asked", by=by, reload=self._count, plan=str(self._source.path))
        if not self.compare(layers).nothing:
            self.version += 1
        self._layers = self._asked[self._count] = layers
        self._keeper.post(Replanned(layers.plan, self._count))
        return self._count

    def told(self, reload: Reload) -> None:
        """What has become of a change: one that was taken back takes its layers along."""
        if reload.outcome in (Outcome.APPLIED, Outcome.FAILED) and reload.number in self._asked:
            self._settled = self._asked[reload.number]
        elif reload.outcome is Outcome.ROLLED_BACK and reload.number == self._count:
            self._layers = self._settled
            self.version += 1
        if reload.outcome is not Outcome.PENDING:
            self._asked.pop(reload.number, None)

    def save(self) -> list[str]:
        """Save what was changed here beside the plan; the names of all processes that are saved there now.

        Raises:
            PlanError: with what the files say now, the plan could not work at the next start.
            OSError: the file cannot be written.
            ValueError: it is too much.
        """
        there = self._layers.to_save(self._source.saved())
        self._layers.with_files(self._source.sources(), there)
        self._source.save(there)
        self._layers = self._layers.all_saved()
        if not self.is_pending:
            self._settled = self._layers
        return sorted(there)

    def _read(self, *, discard: bool) -> Layers:
        return self._layers.with_files(self._source.sources(), self._source.saved(), discard=discard)

    def asked(self, by: str) -> None:
        """As `reload`, by somebody who is not there for an answer: a refusal stands in the log."""
        try:
            self.reload(by)
        except PlanError:
            return

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
        """Watch no longer."""
        task = self._watching
        self._end_watching()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

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
