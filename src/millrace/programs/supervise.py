"""A supervisor, put together: the keeper, what processes print, its control API, the signals of a person or an init system."""

import asyncio
import os
import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from millrace.process.mark import carry, own_mark
from millrace.process.orphans import Orphans
from millrace.process.signals import inherit_nothing
from millrace.process.values import Stream
from millrace.process.warden import Warden
from millrace.programs.control_doors import KEY_VARIABLE, ControlDoors, ControlSettings
from millrace.programs.supervise_signals import Signals
from millrace.runtime.clock import SystemClock
from millrace.supervisor.change.news import log_news
from millrace.supervisor.change.reloader import Reloader
from millrace.supervisor.control.supervisor import Supervisor
from millrace.supervisor.keeper import Keeper, News
from millrace.supervisor.logs.book import Logs
from millrace.supervisor.logs.entry import Entry
from millrace.supervisor.logs.events import events_to
from millrace.supervisor.logs.writer import Descriptor, Target
from millrace.supervisor.plan import Plan
from millrace.supervisor.plans.file import PlanFile
from millrace.supervisor.state import Id, Instance
from millrace.telemetry.logs import logger

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
        log.info("supervisor.changed", instance=str(each), phase=instance.phase.value, ready=instance.ready, **fields)

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
    source: PlanFile | None = None,
) -> int:
    """Keep what the plan says; returns the exit code when nothing is left. `watcher` hears what happens.

    SIGTERM, SIGINT or SIGQUIT stops everything in order, a second one at once; what a plan forwards is passed on, and
    other signals that would end us are ignored. SIGHUP reads the plan of `source` again, where that is given, the plan
    forwards none, and no terminal sent it. To be called once, in a process of its own: it adopts orphans, and marks
    itself, so that whatever it starts is found and killed also when it is itself killed.

    Raises:
        SettingError: the control API cannot be served as it was asked for; nothing was started.
    """
    clock = SystemClock()
    supervisor = Supervisor(clock)

    def seen(each: Id, entries: Sequence[Entry]) -> None:
        keeper.saw(each, entries)

    logs = Logs(plan, clock=clock, targets=_targets(), heard=supervisor.printed, seen=seen)

    watcher = watcher or Watcher()

    def changed(each: Id, instance: Instance | None) -> None:
        if instance is None:
            logs.forget(each)
        supervisor.heard(each, instance)
        watcher.changed(keeper, each, instance)

    doors = ControlDoors(supervisor, control, environ)
    inherit_nothing()
    mark = own_mark()
    warden = Warden.post(mark) if os.getpid() != 1 else None
    carry(mark)
    inherited = {name: value for name, value in environ.items() if name not in _OURS}

    def adopted(now: Plan) -> None:
        logs.adopt(now)
        supervisor.adopted(now)
        _follow(now, signals, reloader)

    keeper = Keeper(
        plan, clock=clock, chance=random.SystemRandom(), environ=inherited, cwd=cwd,
        output=logs.output, opening=logs.opening, closing=logs.closing, changed=changed,
        adopted=adopted, told=partial(_tell_news, supervisor),
    )  # fmt: skip
    reloader = None if source is None else Reloader(source, keeper, clock)
    supervisor.attach(keeper, reloader)
    signals = Signals(
        end=partial(watcher.told_to_end, keeper), pass_on=keeper.pass_on,
        terminal=sys.stdin is not None and sys.stdin.isatty(),
        reload=None if reloader is None else partial(reloader.asked, "SIGHUP"),
    )  # fmt: skip
    orphans = Orphans(clock)
    orphans.start()
    try:
        # The processes do not wait for the server's imports, and a signal finds the keeper at work.
        running = asyncio.create_task(keeper.run(), name="keeper")
        _follow(plan, signals, reloader)
        with signals, events_to(logs.writers["stderr"], instead_of=sys.stderr):
            try:
                async with doors:
                    return await running
            except BaseException:
                keeper.end()
                await running
                raise
    finally:
        doors.close()
        if reloader is not None:
            await reloader.close()
        await logs.close()
        await orphans.stop()
        if warden is not None:
            warden.dismiss()


def _follow(plan: Plan, signals: Signals, reloader: Reloader | None) -> None:
    """Heed what this plan says of signals, and of its files."""
    signals.heed(plan)
    if reloader is not None:
        reloader.follow(plan)


def _tell_news(supervisor: Supervisor, news: News) -> None:
    log_news(news)
    supervisor.told(news)


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
