"""What a supervisor does, as spans: its start and its end, starts, stops and restarts, and what happens inside them.

A span begins and ends when the machine tells of it, so nothing is measured twice. Health checks are told while something
starts, and when they fail: one a second of each process for ever would bury the rest.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from millrace.supervisor.change.reloads import Outcome as Fate
from millrace.supervisor.happenings import Checked, Happening, HookRan, JobRan
from millrace.supervisor.hooks import Moment
from millrace.supervisor.listener import Listener
from millrace.supervisor.schedule.jobs import Outcome
from millrace.supervisor.state import Id, Instance, Phase, Reloaded, Rescaled, Rolled, Stage, State
from millrace.telemetry.tracing import Attributes, Span, Tracer

_UNDER_WAY = frozenset({Phase.STARTING, Phase.RUNNING})
_LAST = {Moment.PRE_STOP, Moment.POST_STOP}


class Spans(Listener):
    """Let `changed` and `happened` hear what the keeper says."""

    def __init__(self, tracer: Tracer, *, now: Callable[[], datetime], state: Callable[[], State]) -> None:
        """The supervisor begins to start. `state` tells how the machine is now."""
        self._tracer = tracer
        self._now = now
        self._state = state
        self._start: Span | None = tracer.start("supervisor.start", at=now())
        self._shutdown: Span | None = None
        self._starts: dict[Id, Span] = {}
        self._stops: dict[Id, Span] = {}
        self._restarts: dict[Id, Span] = {}
        self._reload: Span | None = None

    def changed(self, each: Id, instance: Instance | None) -> None:
        """An instance is in another phase, ready or not ready any more, or (None) gone."""
        self._hear_of_the_end()
        if instance is None:
            self._end(self._starts, each, fault="it was scaled away")
            self._end(self._stops, each)
            self._end(self._restarts, each, fault="it was scaled away")
        elif instance.phase in _UNDER_WAY:
            self._begin(each, instance)
        elif instance.phase is Phase.STOPPING:
            self._stop(each, instance)
        elif instance.phase is not Phase.CLEANING:
            self._rest(each, instance)
        self._hear_of_the_start()

    def happened(self, one: Happening) -> None:
        """Something is over."""
        self._hear_of_the_end()
        match one:
            case Checked():
                inside = self._starts.get(one.id)
                if inside is not None or one.fault is not None:
                    named = {**_named(one.id), "millrace.check": one.kind}
                    self._past("health_check", one.at, one.took_s, inside=inside, named=named, fault=one.fault)
            case HookRan():
                named = {
                    **({} if one.id is None else _named(one.id)), "millrace.hook": one.hook,
                    "millrace.moment": one.moment.value, "millrace.attempt": one.attempt,
                }  # fmt: skip
                self._past("hook", one.at, one.took_s, inside=self._around(one), named=named, fault=one.fault)
            case JobRan():
                self._job(one)
        self._hear_of_the_start()

    def told(self, news: Reloaded | Rolled | Rescaled) -> None:
        """A change of the plan has begun, or it is known what became of it; nothing else that is told is a span."""
        if not isinstance(news, Reloaded):
            return
        if news.reload.outcome is Fate.PENDING:
            named: Attributes = {"millrace.reload": news.reload.number}
            self._reload = self._tracer.start("supervisor.reload", at=self._now(), attributes=named)
        elif self._reload is not None:
            fault = None if news.reload.outcome is Fate.APPLIED else f"{news.reload.outcome}: {news.reload.why}"
            self._reload.end(self._now(), fault=fault)
            self._reload = None

    def close(self) -> None:
        """Everything has ended."""
        for spans in (self._starts, self._stops, self._restarts):
            for each in [*spans]:
                self._end(spans, each)
        for span in (self._start, self._reload, self._shutdown):
            if span is not None:
                span.end(self._now())
        self._start = self._reload = self._shutdown = None
        self._tracer.close()

    def _hear_of_the_end(self) -> None:
        if self._state().ending and self._shutdown is None:
            self._end_start()
            self._shutdown = self._tracer.start("supervisor.shutdown", at=self._now())

    def _hear_of_the_start(self) -> None:
        if self._state().stage is Stage.UP:
            self._end_start()

    def _end_start(self) -> None:
        if self._start is not None:
            self._start.end(self._now())
            self._start = None

    def _begin(self, each: Id, instance: Instance) -> None:
        self._end(self._stops, each)  # its end and its next start may come in one step
        if each not in self._starts and not instance.ready and not instance.there:
            around = self._restarts.get(each) or self._start
            self._starts[each] = self._tracer.start(
                "process.start", at=self._now(), parent=around, attributes=_named(each)
            )
        if instance.ready:
            self._end(self._starts, each)
            self._end(self._restarts, each)

    def _stop(self, each: Id, instance: Instance) -> None:
        self._end(self._starts, each, fault="it was stopped before it was ready")
        state = self._state()
        comes_back = (
            not state.ending and each.index < state.wanted.get(each.process, 0) and each.process not in state.jobs
        )
        if comes_back:
            self._restart(each, instance.reason)
        if each not in self._stops:
            around = self._restarts.get(each) or self._shutdown
            named = {**_named(each), "millrace.reason": instance.reason}
            self._stops[each] = self._tracer.start("process.stop", at=self._now(), parent=around, attributes=named)

    def _rest(self, each: Id, instance: Instance) -> None:
        fault = instance.reason if instance.phase in (Phase.FAILED, Phase.BACKING_OFF) else None
        self._end(self._starts, each, fault=fault)
        self._end(self._stops, each)
        if instance.phase is Phase.BACKING_OFF:
            self._restart(each, instance.reason)
        elif instance.phase is Phase.FAILED or not self._is_wanted(each):
            self._end(self._restarts, each, fault=fault or "it was stopped instead")

    def _restart(self, each: Id, reason: str) -> None:
        if each not in self._restarts:
            named = {**_named(each), "millrace.reason": reason}
            self._restarts[each] = self._tracer.start("process.restart", at=self._now(), attributes=named)

    def _is_wanted(self, each: Id) -> bool:
        state = self._state()
        return not state.ending and each.index < state.wanted.get(each.process, 0)

    def _around(self, one: HookRan) -> Span | None:
        if one.id is None:
            return self._shutdown if one.moment in _LAST else self._start
        first, second = (self._stops, self._starts) if one.moment in _LAST else (self._starts, self._stops)
        return first.get(one.id) or second.get(one.id) or self._restarts.get(one.id)

    def _job(self, one: JobRan) -> None:
        run = one.run
        if run.ended is None:
            return
        began = run.began or run.due
        named: Attributes = {"millrace.process": one.process, "millrace.run": run.number, "millrace.by": run.by.value}
        fault = None if run.outcome is Outcome.SUCCEEDED else f"{run.outcome}: {run.how}"
        self._past("job", began, (run.ended - began).total_seconds(), inside=None, named=named, fault=fault)

    def _past(
        self, name: str, at: datetime, took_s: float, *, inside: Span | None, named: Attributes, fault: str | None
    ) -> None:
        """A span of what is over already."""
        span = self._tracer.start(name, at=at, parent=inside, attributes=named)
        span.end(at + timedelta(seconds=took_s), fault=fault)

    def _end(self, spans: dict[Id, Span], each: Id, *, fault: str | None = None) -> None:
        span = spans.pop(each, None)
        if span is not None:
            span.end(self._now(), fault=fault)


def _named(each: Id) -> dict[str, str | int | float | bool]:
    return {"millrace.process": each.process, "millrace.instance": str(each)}
