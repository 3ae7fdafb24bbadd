"""A supervisor, put together: the keeper, what processes print, its control API, the signals of a person or an init system."""

import asyncio
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import millrace
from millrace.process.guard import Guard
from millrace.process.orphans import Orphans
from millrace.process.values import Stream
from millrace.programs.control_settings import KEY_VARIABLE, ControlSettings
from millrace.programs.supervise_signals import Signals
from millrace.runtime.clock import Clock, SystemClock
from millrace.supervisor.change.news import log_news
from millrace.supervisor.change.reloader import Reloader, Source
from millrace.supervisor.happenings import Happening
from millrace.supervisor.keeper import Keeper, News
from millrace.supervisor.listener import Listener
from millrace.supervisor.logs.book import Logs
from millrace.supervisor.logs.entry import Entry
from millrace.supervisor.logs.events import events_to
from millrace.supervisor.logs.writer import Descriptor, Target
from millrace.supervisor.plan import Plan
from millrace.supervisor.plans.layers import Layers
from millrace.supervisor.spans import Spans
from millrace.supervisor.state import Id, Instance, Reloaded, State
from millrace.telemetry.logs import logger
from millrace.telemetry.tracing import tracer_from

if TYPE_CHECKING:
    from millrace.programs.control import Control

log = logger("supervisor")
_OURS = {KEY_VARIABLE, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
"""Variables that are meant for us: no process speaks for the supervisor to who started it."""


class Watcher:
    """Hears what happens: here it tells the log of every change, and every signal that asks to end does so."""

    def changed(self, keeper: Keeper, each: Id, instance: Instance | None) -> None:
        """An instance has changed, or (None) was scaled away."""
        del keeper
        if instance is None:
            log.info("supervisor.gone", instance=str(each))
            return
        fields = {"reason": instance.reason} if instance.reason else {}
        said = {"instance": str(each), "phase": instance.phase.value, "ready": instance.ready, **fields}
        log.frequent("supervisor.changed", said)

    def told_to_end(self, keeper: Keeper) -> None:
        """A signal asks to end, perhaps again."""
        keeper.end()


async def supervise(
    plan: Plan,
    *,
    environ: Mapping[str, str],
    cwd: Path,
    control: ControlSettings,
    watcher: Watcher | None = None,
    source: tuple[Source, Layers] | None = None,
) -> int:
    """Keep what the plan says; returns the exit code when nothing is left. `watcher` hears what happens.

    `source` is where the plan comes from, and what it was made of there.

    SIGTERM, SIGINT or SIGQUIT stops everything in order, a second one at once; what a plan forwards is passed on, and
    other signals that would end us are ignored. SIGHUP reads the plan of `source` again, where that is given, the plan
    forwards none, and no terminal sent it. To be called once, in a process of its own: it adopts orphans, and marks
    itself, so that whatever it starts is found and killed also when it is itself killed.

    Raises:
        SettingError: the control API cannot be served as it was asked for; nothing was started.
    """
    clock = SystemClock()
    async with AsyncExitStack() as opened:  # what was opened last is closed first
        spans = _spans(lambda: keeping.state, clock, environ, opened)
        at_the_door = _control(control, environ, clock, opened)
        guard = Guard()
        opened.callback(guard.close)
        orphans = Orphans(clock)
        keeping = _Keeping(
            plan, clock=clock, environ=environ, cwd=cwd, control=at_the_door, watcher=watcher or Watcher(),
            spans=spans, source=source, parting=guard.leave,
        )  # fmt: skip
        opened.push_async_callback(keeping.close)  # while what stands guard goes
        opened.callback(guard.stand_down)
        opened.push_async_callback(orphans.stop)
        opened.push_async_callback(keeping.read_no_more)
        orphans.start()
        return await keeping.run()


class _Keeping:
    """A keeper, and whoever hears what it does: its control, the log, the files, traces, a watcher."""

    def __init__(
        self,
        plan: Plan,
        *,
        clock: Clock,
        environ: Mapping[str, str],
        cwd: Path,
        control: "Control | None",
        watcher: Watcher,
        spans: Listener | None,
        source: tuple[Source, Layers] | None,
        parting: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._control = control
        self._watcher = watcher
        self._parting = parting
        self._listeners: tuple[Listener, ...] = tuple(one for one in (control, spans) if one is not None)
        self._logs = Logs(plan, clock=clock, targets=_targets(), heard=self._printed, seen=self._seen)
        self._keeper = Keeper(
            plan, clock=clock, chance=random.SystemRandom(), cwd=cwd,
            environ={name: value for name, value in environ.items() if name not in _OURS},
            output=self._logs.output, opening=self._logs.opening, closing=self._logs.closing,
            changed=self._changed, happened=self._happened, adopted=self._adopted, told=self._told,
        )  # fmt: skip
        self._reloader = None if source is None else Reloader(*source, self._keeper, clock)
        self._signals = Signals(
            end=partial(watcher.told_to_end, self._keeper), pass_on=self._keeper.pass_on,
            terminal=sys.stdin is not None and sys.stdin.isatty(),
            reload=None if self._reloader is None else partial(self._reloader.asked, "SIGHUP"),
        )  # fmt: skip
        if control is not None:
            control.attach(self._keeper, self._reloader)

    @property
    def state(self) -> State:
        """What the machine knows."""
        return self._keeper.state

    async def run(self) -> int:
        """Keep everything and answer at the doors; returns the exit code when nothing is left."""
        # The processes do not wait for the server's imports, and a signal finds the keeper at work.
        running = asyncio.create_task(self._keeper.run(), name="keeper")
        self._follow(self._plan)
        doors: AbstractAsyncContextManager[object] = nullcontext() if self._control is None else self._control
        with self._signals, events_to(self._logs.writers["stderr"], instead_of=sys.stderr):
            try:
                async with doors:
                    return await running
            except BaseException:
                self._keeper.end()
                await running
                raise

    async def read_no_more(self) -> None:
        """The plan is what it is."""
        if self._reloader is not None:
            await self._reloader.close()

    async def close(self) -> None:
        """Nothing more is to be heard."""
        await self._logs.close()

    def _follow(self, plan: Plan) -> None:
        """Heed what this plan says of signals, and of its files."""
        self._signals.heed(plan)
        if self._reloader is not None:
            self._reloader.follow(plan)

    def _seen(self, each: Id, entries: Sequence[Entry]) -> None:
        self._keeper.saw(each, entries)

    def _printed(self, each: Id, entries: Sequence[Entry]) -> None:
        for one in self._listeners:
            one.printed(each, entries)

    def _changed(self, each: Id, instance: Instance | None) -> None:
        if instance is None:
            self._logs.forget(each)
        if self._keeper.state.ending and not self._starts_hooks():
            self._parting()  # nothing more is started
        for one in self._listeners:
            one.changed(each, instance)
        self._watcher.changed(self._keeper, each, instance)

    def _starts_hooks(self) -> bool:
        plan = self._keeper.plan
        return bool(plan.hooks) or any(process.hooks for process in plan.processes.values())

    def _happened(self, one: Happening) -> None:
        for each in self._listeners:
            each.happened(one)

    def _adopted(self, plan: Plan) -> None:
        self._logs.adopt(plan)
        for one in self._listeners:
            one.adopted(plan)
        self._follow(plan)

    def _told(self, news: News) -> None:
        log_news(news)
        if self._reloader is not None and isinstance(news, Reloaded):
            self._reloader.told(news.reload)
        for one in self._listeners:
            one.told(news)


def _spans(
    state: Callable[[], State], clock: Clock, environ: Mapping[str, str], opened: AsyncExitStack
) -> Spans | None:
    """What tells a collector of what happens, where the environment names one."""
    tracer = tracer_from(environ, service="millrace-supervisor", version=millrace.__version__)
    if tracer is None:
        return None
    spans = Spans(tracer, now=clock.now, state=state)
    opened.callback(spans.close)  # opened first, so that it is closed last: it may wait for a collector
    return spans


def _control(
    settings: ControlSettings, environ: Mapping[str, str], clock: Clock, opened: AsyncExitStack
) -> "Control | None":
    """What answers to who asks, where somebody can."""
    if settings.asks_for_nothing:
        return None
    from millrace.programs.control import Control  # noqa: PLC0415  a tenth of the memory, and of the start

    control = Control(settings, environ, clock)
    opened.callback(control.close)
    return control


def _targets() -> Mapping[Stream, Target]:
    """Our stdout and stderr; one where both are the same pipe or terminal, so that no line comes inside another."""
    # A descriptor that was closed when we started may be anything by now.
    out, err = (
        Descriptor(number if stream is not None else -1) for number, stream in ((1, sys.stdout), (2, sys.stderr))
    )
    with suppress(OSError):
        if os.path.sameopenfile(1, 2):
            err = out
    return {"stdout": out, "stderr": err}
