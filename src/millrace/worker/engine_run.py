"""Run one command of an engine as a child: log it, follow it, steer it, notice when it stalls."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct, field

from millrace.domain.failures import Failure, FailureClass
from millrace.engines.engine import Command, Outcome
from millrace.process.child import Child
from millrace.process.sandbox import Able
from millrace.process.values import Batch, CannotStart, Exit, Line, Spec, Usage
from millrace.runtime.clock import Clock
from millrace.worker.attempt_log import Diary
from millrace.worker.bounds import FILES, LOOK_S, Bounds
from millrace.worker.control import Control
from millrace.worker.disk import count_files
from millrace.worker.engines_alive import EnginesAlive
from millrace.worker.failure import TaskFailedError
from millrace.worker.shut_in import sandbox_for
from millrace.worker.stall import Stall

LARGEST_OUTPUT_CHARS = 256 << 20
"""What a probe may write; the packet list of a long film has tens of megabytes."""
LARGEST_DESCRIPTION_CHARS = 16 << 20
"""What it may say beside that, tags and chapters among it."""
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


class _Excess:
    """Why a command must not go on; whoever sees it first says so."""

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.seen = asyncio.Event()

    def tell(self, failure: Failure) -> None:
        self.failure = self.failure or failure
        self.seen.set()


Follow = Callable[[str], Failure | None]
"""Takes a line of stdout; what it gives ends the command."""


class _Collector:
    """Takes the child's lines: stderr goes to the log, stdout to whoever follows, or is kept."""

    def __init__(self, log: Diary, label: str, follow: Follow | None) -> None:
        self._log = log
        self._endless = Failure(failure_class=FailureClass.INPUT, message=f"cannot {label}: its description has no end")
        self._follow = follow
        self._kept: list[str] = []
        self._errors: list[str] = []
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._chars = {"stdout": 0, "stderr": 0}
        self.excess = _Excess()

    async def __call__(self, batch: Batch) -> None:
        if batch.dropped and self._follow is None:
            self.excess.tell(self._endless)  # facts with holes are worse than none
        elif batch.dropped:
            self._log.say(f"{batch.dropped} lines of the engine came too fast and were dropped")
        shown = []
        for line in batch.lines:
            end = "" if line.partial else "\n"
            if line.stream == "stderr":
                if not line.transient:
                    shown.append(line.text + end)
                if self._follow is None:
                    self._keep(line, self._errors, end, LARGEST_DESCRIPTION_CHARS)
            elif self._follow is None:
                self._keep(line, self._kept, end, LARGEST_OUTPUT_CHARS)
            elif (failure := self._follow(line.text)) is not None:
                self.excess.tell(failure)
        if self._follow is not None and shown:
            text = "".join(shown)
            self._tail.extend(text.splitlines())
            self._log.write(text)

    def say(self, text: str) -> None:
        """A line of our own in the log."""
        self._log.say(text)

    def _keep(self, line: Line, where: list[str], end: str, most: int) -> None:
        self._chars[line.stream] += len(line.text) + len(end)
        if self._chars[line.stream] > most:
            self.excess.tell(self._endless)
        else:
            where.append(line.text + end)

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
    on_line: Follow,
    mark: Callable[[], object],
) -> Ended:
    """Run a long command. Each line of its stdout goes to `on_line`, its stderr into the log.

    `mark` gives anything that changes when there is progress.

    Raises:
        TaskFailedError: class `stalled`, `resource` where it could not be started or took more than it may, or what `on_line`
            said.
    """
    collector = _Collector(log, command.label, on_line)
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
        TaskFailedError: class `stalled`; `timeout`; `resource` where it could not be started or took more than it may; `input`
            where it wrote without end.
    """
    collector = _Collector(log, command.label, None)
    log.command(command.label, command.argv)
    limit_s = engines.bounds.describing_s(await asyncio.to_thread(_size, command.reads))
    ended = await _run(
        command, collector, engines=engines, control=control, folder=folder, mark=lambda: None, limit_s=limit_s
    )
    log.say(f"{command.label}: {ended}; {ended.wall_s:.2f} s, {ended.max_rss_bytes / 1e6:,.0f} MB")
    engines.bounds.judge(command.label, ended)
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
    limit_s: float | None = None,
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
            watch = _Watch(
                command.label,
                engines=engines,
                control=control,
                folder=folder,
                mark=mark,
                excess=collector.excess,
                limit_s=limit_s,
            )
            return await _until_end(child, watch)
    finally:
        engines.alive.remove(child.pid)


def _size(paths: tuple[Path, ...]) -> int:
    """Bytes that these files, and those in these folders, take on the disk: a hole costs nothing and reads for ever. Blocking."""
    files = (file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,)))
    found = [file.lstat() for file in files if file.is_file()]
    # Some network file systems do not tell.
    return sum(min(one.st_size, one.st_blocks * 512 or one.st_size) for one in found)


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
        limits=engines.bounds.limits(command),
        resources=engines.bounds.resources,
        sandbox=sandbox,
    )


class _Watch:
    """What is looked at while a command runs. `limit_s` seconds may pass for it, pauses apart; None for as long as it likes."""

    def __init__(
        self,
        label: str,
        *,
        engines: Engines,
        control: Control,
        folder: Path,
        mark: Callable[[], object],
        excess: _Excess,
        limit_s: float | None,
    ) -> None:
        self._label, self._folder, self._mark, self._limit_s = label, folder, mark, limit_s
        self.engines, self.control, self.excess = engines, control, excess
        self._stall = Stall(limit_s=engines.stall_s)
        self._over_s = control.stopwatch.elapsed_s + (float("inf") if limit_s is None else limit_s)

    @property
    def wait_s(self) -> float:
        """Until the next look."""
        return min(LOOK_S, self.engines.stall_s / 4, max(0.05, self._over_s - self.control.stopwatch.elapsed_s))

    async def look(self, used: Usage) -> None:
        """Tell what is in excess by now."""
        files = await asyncio.to_thread(count_files, self._folder, FILES)
        crowd = self.engines.bounds.excess(self._label, processes=used.processes, files=files)
        if crowd is not None:
            self.excess.tell(crowd)
        if self.control.stopwatch.elapsed_s >= self._over_s:
            text = f"did not end within {self._limit_s:,.0f} s, which is long for what it reads"
            self._tell(FailureClass.TIMEOUT, text)
        paused, now_s = self.control.paused, self.engines.clock.monotonic()
        if self._stall.look(now_s, cpu_s=used.cpu_s, mark=self._mark(), read_bytes=used.read_bytes, paused=paused):
            text = f"neither worked, read nor made progress for {self.engines.stall_s:g} s"
            self._tell(FailureClass.STALLED, text)

    def _tell(self, failure_class: FailureClass, text: str) -> None:
        self.excess.tell(Failure(failure_class=failure_class, message=f"cannot {self._label}: the engine {text}"))


async def _until_end(child: Child, watch: _Watch) -> Exit:
    control, excess = watch.control, watch.excess
    ending = asyncio.ensure_future(child.wait())
    try:
        if control.paused:  # the pause came while it started
            await child.pause()
        while excess.failure is None and not await _ended_within(ending, excess, watch.wait_s, watch.engines.clock):
            await watch.look(child.sample())
        if excess.failure is not None:
            raise TaskFailedError(excess.failure.failure_class, excess.failure.message)
        return ending.result()
    finally:
        if not ending.done():
            # Nothing of an ended attempt may run on: this holds the cancellation up until the tree is gone.
            await asyncio.shield(child.stop(0.0 if excess.failure is not None else control.grace_s))
            await asyncio.wait((ending,))
        if not ending.cancelled():
            ending.exception()


async def _ended_within(ending: "asyncio.Future[Exit]", excess: _Excess, seconds: float, clock: Clock) -> bool:
    """Whether it ended before that time was over, or before there was a reason not to let it go on."""
    timer = asyncio.ensure_future(clock.sleep(seconds))
    seen = asyncio.ensure_future(excess.seen.wait())
    try:
        await asyncio.wait((ending, timer, seen), return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        seen.cancel()
    return ending.done()
