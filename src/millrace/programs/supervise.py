"""A supervisor, put together: the keeper, what processes print, its control API, the signals of a person or an init system."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from millrace.process.mark import carry, own_mark
from millrace.process.orphans import Orphans
from millrace.process.signals import inherit_nothing
from millrace.process.values import Batch
from millrace.process.warden import Warden
from millrace.programs.control_doors import KEY_VARIABLE, ControlDoors, ControlSettings
from millrace.runtime.clock import SystemClock
from millrace.supervisor.control.supervisor import Supervisor
from millrace.supervisor.keeper import Keeper
from millrace.supervisor.plan import Plan
from millrace.supervisor.state import Id, Instance
from millrace.telemetry.logs import logger

log = logger("supervisor")
_END = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
_DEAF = {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM}  # each would end us


async def supervise(plan: Plan, *, environ: Mapping[str, str], cwd: Path, control: ControlSettings) -> int:
    """Keep what the plan says; returns the exit code when nothing is left.

    SIGTERM, SIGINT or SIGQUIT stops everything in order, a second one at once; what a plan forwards is passed on, and
    other signals that would end us are ignored (SIGHUP only where no terminal sent it). To be called once, in a process
    of its own: it adopts orphans, and marks itself, so that whatever it starts is found and killed also when it is itself
    killed.

    Raises:
        SettingError: the control API cannot be served as it was asked for; nothing was started.
    """
    clock = SystemClock()
    supervisor = Supervisor(clock)

    def changed(each: Id, instance: Instance | None) -> None:
        _tell(each, instance)
        supervisor.heard(each, instance)

    async def printed(each: Id, batch: Batch) -> None:
        supervisor.printed(each, batch)
        await _print(each, batch)

    doors = ControlDoors(supervisor, control, environ)
    inherit_nothing()
    mark = own_mark()
    warden = Warden.post(mark) if os.getpid() != 1 else None
    carry(mark)
    inherited = {name: value for name, value in environ.items() if name != KEY_VARIABLE}
    keeper = Keeper(
        plan, clock=clock, chance=random.SystemRandom(), environ=inherited, cwd=cwd,
        output=printed, changed=changed,
    )  # fmt: skip
    supervisor.attach(keeper)
    orphans = Orphans(clock)
    orphans.start()
    try:
        # The processes do not wait for the server's imports, and a signal finds the keeper at work.
        running = asyncio.create_task(keeper.run(), name="keeper")
        with _signals(plan, keeper):
            try:
                async with doors:
                    return await running
            except BaseException:
                keeper.end()
                await running
                raise
    finally:
        doors.close()
        await orphans.stop()
        if warden is not None:
            warden.dismiss()


@contextmanager
def _signals(plan: Plan, keeper: Keeper) -> Iterator[None]:
    """Heed those that end the whole, and pass on what the plan says."""
    loop = asyncio.get_running_loop()
    passed_on = {number for process in plan.processes.values() for number in process.execution.forward}
    # A terminal that closes says so by SIGHUP, and takes what runs on it along.
    ends = {*_END, signal.SIGHUP} - passed_on if sys.stdin.isatty() else _END
    for number in _DEAF | passed_on:
        loop.add_signal_handler(number, keeper.pass_on, number)
    for number in ends:
        loop.add_signal_handler(number, keeper.end)
    try:
        yield
    finally:
        for number in {*ends, *_DEAF, *passed_on}:
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
