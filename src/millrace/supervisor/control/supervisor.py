"""What the handlers work with: the keeper, and what was seen of it."""

from collections.abc import Mapping, Sequence
from signal import Signals
from typing import Protocol

from millrace.edge.refusal import RefusalError, not_found
from millrace.edge.tally import Tally
from millrace.runtime.clock import Clock
from millrace.supervisor.audit_trail import Trail
from millrace.supervisor.change.reloader import Reloader
from millrace.supervisor.change.reloads import Outcome
from millrace.supervisor.control.changes import Changes
from millrace.supervisor.control.lines import Lines
from millrace.supervisor.control.news import News
from millrace.supervisor.control.views import instance_view, process_view, reload_view
from millrace.supervisor.facts import Facts
from millrace.supervisor.ledger import Ledger
from millrace.supervisor.logs.entry import Entry
from millrace.supervisor.plan import Plan, ProcessPlan
from millrace.supervisor.resources import Resources, Root
from millrace.supervisor.state import Event, Id, Instance, Reloaded, Rescaled, Rolled, State
from millrace.wire.v1.supervise import ChangeView, ProcessView, ReloadView, RescaleView, RollView

_OUTCOMES = 20


class Kept(Protocol):
    """What is asked of a keeper."""

    state: State
    facts: dict[Id, Facts]

    @property
    def plan(self) -> Plan:
        """What is kept at present."""

    def roots(self) -> Mapping[Id, Root]:
        """The process that each instance has at present."""

    def trigger(self, process: str) -> None:
        """Have a run of a scheduled process now."""

    def call_off(self, process: str, number: int) -> None:
        """Have one run of a scheduled process stopped, or not begin."""

    def signal(self, process: str, number: Signals) -> int:
        """Send a signal to the main process of each instance; to how many."""

    def post(self, event: Event) -> None:
        """Let the machine know of something."""

    def end(self) -> None:
        """Stop everything in order."""

    @property
    def ending_for_s(self) -> float | None:
        """Seconds since it was told to end; None where it was not."""


class Supervisor:
    """A keeper as it is seen from outside. Let `heard`, `printed` and `ledger.note` hear what the keeper says."""

    def __init__(self, clock: Clock, *, secrets: Sequence[str] = (), trail: Trail | None = None) -> None:
        """Call `attach` before the first request. `secrets` are texts that no answer may hold; `trail` keeps who changed what."""
        self.clock = clock
        self.started = clock.now()
        self.secrets = tuple(secrets)
        self.news = News(clock)
        self.changes = Changes()
        self.trail = trail or Trail()
        self.tally = Tally()
        self.lines = Lines()
        self.ledger = Ledger()
        self.resources = Resources(clock, lambda: self.keeper.roots())  # noqa: PLW0108  there is no keeper yet
        self.scales: dict[str, int] = {}
        """What processes were scaled to, so that a start after a stop brings that many back."""
        self.outcomes: dict[int, ReloadView] = {}
        """What became of the last changes of the plan, by their numbers."""
        self._keeper: Kept | None = None
        self._reloader: Reloader | None = None

    def attach(self, keeper: Kept, reloader: Reloader | None = None) -> None:
        """This keeper is told what to do; `reloader` reads its plan again."""
        self._keeper, self._reloader = keeper, reloader

    @property
    def reloader(self) -> Reloader:
        """What reads the plan again.

        Raises:
            RefusalError: the plan came from no file.
        """
        if self._reloader is None:
            raise conflict("cannot change the plan: it came from no file; end the supervisor and start it with another")
        return self._reloader

    @property
    def tag(self) -> str:
        """The plan in force as an entity tag (RFC 9110, 8.8.3); it tells nothing of what the plan holds."""
        return f'"{self.changes.run}-{0 if self._reloader is None else self._reloader.version}"'

    @property
    def keeper(self) -> Kept:
        """The keeper."""
        if self._keeper is None:
            raise RuntimeError("cannot ask the supervisor: it has no keeper yet")
        return self._keeper

    def heard(self, each: Id, instance: Instance | None) -> None:
        """An instance has changed, or (None) was scaled away."""
        now_s = self.clock.monotonic()
        if instance is None:
            self.resources.forget(each)
            self.ledger.forget(each)
        now = None if instance is None else instance_view(each, instance, self.keeper.facts.get(each), now_s=now_s)
        self.changes.add(ChangeView(at=self.clock.now(), process=each.process, instance=str(each), now=now))
        self.news.ring()

    def adopted(self, plan: Plan) -> None:
        """Another plan is in force: it says how many there are of what it changed."""
        self.scales = {
            name: count for name, count in self.scales.items() if self.keeper.state.wanted.get(name) in (0, count)
        }
        self.lines.keep(plan.processes)
        self.news.ring()

    def told(self, news: Reloaded | Rolled | Rescaled) -> None:
        """Something that takes its time has begun, or is over."""
        at = self.clock.now()
        match news:
            case Reloaded():
                found = reload_view(news.reload)
                if news.reload.outcome is not Outcome.PENDING:
                    self.outcomes[news.reload.number] = found
                    self.outcomes.pop(news.reload.number - _OUTCOMES, None)
                self.changes.add(found, "reload")
            case Rolled():
                self.changes.add(RollView(at=at, process=news.process, halted=news.halted), "roll")
            case Rescaled():
                view = RescaleView(at=at, process=news.process, before=news.before, now=news.now, reason=news.why)
                self.changes.add(view, "rescale")
        self.news.ring()

    def printed(self, each: Id, entries: Sequence[Entry]) -> None:
        """An instance has printed lines."""
        self.lines.add(each, entries)

    def process(self, name: str) -> ProcessPlan:
        """A process of the plan.

        Raises:
            RefusalError: there is none of this name.
        """
        found = self.keeper.plan.processes.get(name)
        if found is None:
            known = ", ".join(sorted(self.keeper.plan.processes))
            raise not_found(f"there is no process {name[:80]}; the plan has {known}")
        return found

    def view(self, name: str) -> ProcessView:
        """A process as it is now. Raises as `process`."""
        plan = self.process(name)
        origin = "plan" if self._reloader is None else self._reloader.layers.origin(name)
        return process_view(plan, self.keeper.state, self.keeper.facts, origin=origin, now_s=self.clock.monotonic())

    def stop(self) -> None:
        """The server is going to stop: let go of everybody who waits. May be called twice."""
        self.news.end()


def conflict(detail: str) -> RefusalError:
    """The process is in no state for this."""
    return RefusalError(409, "conflict", detail)
