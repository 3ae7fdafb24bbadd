"""A supervisor, put together: the keeper, what processes print, the signals of a person or of an init system."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from millrace.process.values import Stream
from millrace.runtime.clock import SystemClock
from millrace.supervisor.keeper import Keeper
from millrace.supervisor.logs.book import Logs
from millrace.supervisor.logs.events import events_to
from millrace.supervisor.logs.writer import Descriptor, Target
from millrace.supervisor.plan import Plan
from millrace.supervisor.state import Id, Instance
from millrace.telemetry.logs import logger

log = logger("supervisor")
_END = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


async def supervise(plan: Plan, *, environ: Mapping[str, str], cwd: Path) -> int:
    """Keep what the plan says; returns the exit code when nothing is left.

    SIGTERM, SIGINT or SIGQUIT stops everything in order, a second one at once.
    """
    clock = SystemClock()
    logs = Logs(plan, clock=clock, targets=_targets())
    keeper = Keeper(
        plan, clock=clock, chance=random.SystemRandom(), environ=environ, cwd=cwd,
        output=logs.output, opening=logs.opening, closing=logs.closing, changed=partial(_tell, logs),
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    for number in _END:
        loop.add_signal_handler(number, keeper.end)
    try:
        with events_to(logs.writers["stderr"], instead_of=sys.stderr):
            return await keeper.run()
    finally:
        for number in _END:
            loop.remove_signal_handler(number)
        await logs.close()


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


def _tell(logs: Logs, each: Id, instance: Instance | None) -> None:
    if instance is None:
        logs.forget(each)
        log.info("supervisor.gone", instance=str(each))
        return
    fields = {"reason": instance.reason} if instance.reason else {}
    log.info("supervisor.changed", instance=str(each), phase=instance.phase.value, ready=instance.ready, **fields)
