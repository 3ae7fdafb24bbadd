"""Run one command of an engine as a child: log it, follow it, steer it, notice when it stalls."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct, field

from millrace.domain.failures import FailureClass
from millrace.engines.engine import Command, Outcome
from millrace.process.child import Child
from millrace.process.sandbox import Able
from millrace.process.values import Batch, CannotStart, Exit, Spec
from millrace.runtime.clock import Clock
from millrace.worker.attempt_log import Diary
from millrace.worker.bounds import Bounds
from millrace.worker.control import Control
from millrace.worker.engines_alive import EnginesAlive
from millrace.worker.failure import TaskFailedError
from millrace.worker.shut_in import sandbox_for
from millrace.worker.stall import Stall

LARGEST_OUTPUT_CHARS = 256 << 20
"""What a probe may write; the packet list of a long film has tens of megabytes."""
TAIL_LINES = 400
"""What a failure is judged by."""
BUFFER_CHARS = 64 << 20
"""What may wait for the collector; it takes everything at its next turn on the event loop."""


ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
"""All that an engine knows of this process's environment."""


class Engines(Struct, frozen=True, kw_only=True):
    """How engines are run on this machine.

    Attributes:
        clock: measures stalls.
        alive: where running engines are noted.
        environment: the whole environment of a child, besides TMPDIR.
        stall_s: seconds without progress and without CPU time after which an engine is ended.
        nice: added to our own niceness.
        bounds: what each child may take of the machine.
        able: how each child is shut in; None for not at all.
    """

    clock: Clock
    alive: EnginesAlive
    environment: Mapping[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    stall_s: float = 120.0
    nice: int = 0
    bounds: Bounds = field(default_factory=Bounds)
    able: Able | None = None


class Ended(Struct, frozen=True, kw_only=True):
    """How a command ended. `tail` is the end of what it wrote on stderr."""

    exit: Exit
    stdout: str
    tail: str

    @property
    def exit_status(self) -> int:
        """As POSIX gives it: negative for a signal; -1 where it is unknown."""
        if self.exit.code is not None:
            return self.exit.code
        return -self.exit.signal if self.exit.signal is not None else -1


class _Collector:
    """Takes the child's lines: stderr goes to the log, stdout to whoever follows, or is kept."""

    def __init__(self, log: Diary, follow: Callable[[str], None] | None) -> None:
        self._log = log
        self._follow = follow
        self._kept: list[str] = []
        self._errors: list[str] = []
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._chars = 0
        self.overflowed = False

    async def __call__(self, batch: Batch) -> None:
        if batch.dropped and self._follow is None:
            self.overflowed = True  # facts with holes are worse than none
        elif batch.dropped:
            self._log.say(f"{batch.dropped} lines of the engine came too fast and were dropped")
        shown = []
        for line in batch.lines:
            end = "" if line.partial else "\n"
            if line.stream == "stderr":
                if not line.transient:
                    shown.append(line.text + end)
                if self._follow is None:
                    self._keep(self._errors, line.text + end)
            elif self._follow is not None:
                self._follow(line.text)
            else:
                self._keep(self._kept, line.text + end)
        if self._follow is not None and shown:
            text = "".join(shown)
            self._tail.extend(text.splitlines())
            self._log.write(text)

    def say(self, text: str) -> None:
        """A line of our own in the log."""
        self._log.say(text)

    def _keep(self, where: list[str], text: str) -> None:
        self._chars += len(text)
        self.overflowed = self.overflowed or self._chars > LARGEST_OUTPUT_CHARS
        if not self.overflowed:
            where.append(text)

    @property
    def tail(self) -> str:
        """The last lines on stderr of a command that is followed: its own, whoever else writes into the log."""
        return "\n".join(self._tail)

    @property
    def stdout(self) -> str:
        return "".join(self._kept)

    @property
    def stderr(self) -> str:
        return "".join(self._errors)


async def follow(
    command: Command,
    *,
    engines: Engines,
    control: Control,
    log: Diary,
    folder: Path,
    on_line: Callable[[str], None],
    mark: Callable[[], object],
) -> Ended:
    """Run a long command. Each line of its stdout goes to `on_line`, its stderr into the log.

    `mark` gives anything that changes when there is progress.

    Raises:
        TaskFailedError: class `stalled`, or `resource` where it could not be started or took more than it may.
    """
    collector = _Collector(log, on_line)
    log.command(command.label, command.argv)
    ended = await _run(command, collector, engines=engines, control=control, folder=folder, mark=mark)
    log.say(
        f"{command.label}: {ended}; {ended.wall_s:.2f} s, {ended.cpu_s:.2f} s of CPU, {ended.max_rss_bytes / 1e6:,.0f} MB"
    )
    engines.bounds.judge(command.label, ended)
    return Ended(exit=ended, stdout="", tail=collector.tail)


async def collect(command: Command, *, engines: Engines, control: Control, log: Diary, folder: Path) -> Outcome:
    """Run a command for what it writes. The log gets only the command line and how it ended.

    Raises:
        TaskFailedError: class `stalled`; `resource` where it could not be started or took more than it may; `input` where it
            wrote without end.
    """
    collector = _Collector(log, None)
    log.command(command.label, command.argv)
    ended = await _run(command, collector, engines=engines, control=control, folder=folder, mark=lambda: None)
    log.say(f"{command.label}: {ended}; {ended.wall_s:.2f} s")
    engines.bounds.judge(command.label, ended)
    if collector.overflowed:
        raise TaskFailedError(FailureClass.INPUT, f"cannot {command.label}: its description has no end")
    status = ended.code if ended.code is not None else -(ended.signal or 1)
    return Outcome(exit_status=status, stdout=collector.stdout, stderr=collector.stderr)


async def _run(
    command: Command,
    collector: _Collector,
    *,
    engines: Engines,
    control: Control,
    folder: Path,
    mark: Callable[[], object],
) -> Exit:
    await control.gate()
    spec = _spec(command, engines, folder)
    try:
        child = await Child.start(spec, clock=engines.clock, sink=collector, buffer_chars=BUFFER_CHARS)
    except CannotStart as error:
        raise TaskFailedError(FailureClass.RESOURCE, str(error)) from error
    engines.alive.add(child.pid)
    try:
        if child.placed.missing:  # though it could be had when the worker tried
            collector.say(f"limits not in force for this command: {'; '.join(child.placed.missing)}")
        with control.holding(child):
            return await _until_end(child, engines, control, command.label, mark)
    finally:
        engines.alive.remove(child.pid)


def _spec(command: Command, engines: Engines, folder: Path) -> Spec:
    sandbox = None
    temporary = str(folder)
    if engines.able is not None:
        sandbox = sandbox_for(command, engines.able, folder)
        temporary = "/tmp" if engines.able.whole else temporary  # noqa: S108  of the child alone
    return Spec(
        argv=command.argv,
        cwd=command.cwd or folder,
        env={**engines.environment, "TMPDIR": temporary},
        nice=engines.nice,
        limits=engines.bounds.limits,
        resources=engines.bounds.resources,
        sandbox=sandbox,
    )


async def _until_end(child: Child, engines: Engines, control: Control, label: str, mark: Callable[[], object]) -> Exit:
    stall = Stall(limit_s=engines.stall_s)
    ending = asyncio.ensure_future(child.wait())
    try:
        if control.paused:  # the pause came while it started
            await child.pause()
        while not await _ended_within(ending, engines.stall_s / 4, engines.clock):
            now_s = engines.clock.monotonic()
            used = child.sample()
            if stall.look(now_s, cpu_s=used.cpu_s, mark=mark(), read_bytes=used.read_bytes, paused=control.paused):
                await child.stop(control.grace_s)
                raise TaskFailedError(
                    FailureClass.STALLED,
                    f"cannot {label}: the engine neither worked, read nor made progress for {engines.stall_s:g} s",
                )
        return ending.result()
    finally:
        if not ending.done():
            # Nothing of an ended attempt may run on: this holds the cancellation up until the tree is gone.
            await asyncio.shield(child.stop(control.grace_s))
            await asyncio.wait((ending,))
        if not ending.cancelled():
            ending.exception()


async def _ended_within(ending: "asyncio.Future[Exit]", seconds: float, clock: Clock) -> bool:
    """Whether it ended before that time was over."""
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((ending, timer), return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
    return ending.done()
