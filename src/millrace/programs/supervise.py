"""A supervisor, put together: the keeper, what processes print, the signals of a person or of an init system."""

import asyncio
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from millrace.process.values import Batch
from millrace.runtime.clock import SystemClock
from millrace.supervisor.keeper import Keeper
from millrace.supervisor.plan import Plan
from millrace.supervisor.state import Id, Instance
from millrace.telemetry.logs import logger

log = logger("supervisor")
_END = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


async def supervise(plan: Plan, *, environ: Mapping[str, str], cwd: Path) -> int:
    """Keep what the plan says; returns the exit code when nothing is left.

    SIGTERM, SIGINT or SIGQUIT stops everything in order, a second one at once.
    """
    keeper = Keeper(
        plan, clock=SystemClock(), chance=random.SystemRandom(), environ=environ, cwd=cwd, output=_print, changed=_tell
    )
    loop = asyncio.get_running_loop()
    for number in _END:
        loop.add_signal_handler(number, keeper.end)
    try:
        return await keeper.run()
    finally:
        for number in _END:
            loop.remove_signal_handler(number)


async def _print(each: Id, batch: Batch) -> None:
    """Each line once, with the name of who said it, to our stdout or stderr as it was."""
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        text = "".join(f"{each} | {line.text}\n" for line in batch.lines if line.stream == name)
        if text:
            stream.write(text)
            stream.flush()


def _tell(each: Id, instance: Instance | None) -> None:
    if instance is None:
        log.info("supervisor.gone", instance=str(each))
        return
    fields = {"reason": instance.reason} if instance.reason else {}
    log.info("supervisor.changed", instance=str(each), phase=instance.phase.value, ready=instance.ready, **fields)
