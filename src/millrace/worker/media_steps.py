"""The steps of a task that an engine does: probe, plan, encode, check, finish."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from millrace.domain.failures import Failure, FailureClass, Refused
from millrace.domain.media.check import Finding, check
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan import plan as plan_of
from millrace.domain.media.probe import Probe
from millrace.domain.media.profile_document import ProfileError, profile_from
from millrace.engines.engine import Command, Engine, EngineFailure, Listing, Outcome, Progress, share_done
from millrace.worker.attempt_log import AttemptLog
from millrace.worker.control import Control
from millrace.worker.engine_run import Ended, Engines, collect, follow
from millrace.worker.failure import TaskFailedError, from_os_error

INSPECTIONS_AT_ONCE = 4

Told = Callable[[float, Progress], None]
"""Told the part (0..1) of all encode commands that is done, and the newest report."""


class Made(Struct, frozen=True, kw_only=True):
    """What an attempt made and proved: probes by relative path, and the size of every file in the folder."""

    probes: Mapping[str, Probe]
    sizes: Mapping[str, int]


class MediaSteps(Struct, kw_only=True):
    """One attempt's use of one engine. `folder` is the attempt's own, `out` the folder of its outputs."""

    engine: Engine
    engines: Engines
    control: Control
    log: AttemptLog
    folder: Path
    out: Path

    async def probe(self, source: Path) -> Probe:
        """The facts about a source. Raises TaskFailedError, class `input` for what is no usable media file."""
        outcome = await self._collect(self.engine.probe(source))
        try:
            probe = self.engine.read_probe(outcome.stdout, outcome.stderr, outcome.exit_status)
        except EngineFailure as error:
            self.log.write(outcome.stderr)
            raise _failed(error.failure) from error
        return probe

    def plan(self, profile: Mapping[str, object], probe: Probe | None, parameters: Mapping[str, object]) -> Plan:
        """What is to be made. Raises TaskFailedError, class `request` or `input`."""
        try:
            made = plan_of(
                profile_from(profile), probe, parameters={k: v for k, v in parameters.items() if v is not None}
            )
        except ProfileError as error:
            raise TaskFailedError(FailureClass.REQUEST, f"cannot use the profile: {error}") from error
        except Refused as error:
            raise TaskFailedError(error.failure_class, error.sentence) from error
        for note in made.notes:
            self.log.say(f"plan: {note}")
        return made

    async def encode(self, plan: Plan, source: Path | None, told: Told) -> None:
        """Make the plan's files in `out`. Raises TaskFailedError."""
        try:
            commands = self.engine.encode(plan, source, self.out)
            for folder in (self.out, *(folder for command in commands for folder in command.folders)):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise from_os_error(error, "make the folders of the output") from error
        whole = sum(command.share for command in commands) or 1.0
        done = 0.0
        for command in commands:
            await self._encode_one(plan, command, done / whole, command.share / whole, told)
            done += command.share

    async def _encode_one(self, plan: Plan, command: Command, before: float, part: float, told: Told) -> None:
        reader = self.engine.progress()
        newest: list[object] = [None]

        def on_line(line: str) -> None:
            report = reader.feed(line)
            if report is not None:
                newest[0] = (report.frame, report.out_time_s)
                told(before + part * share_done(report, plan), report)

        ended = await follow(
            command,
            engines=self.engines,
            control=self.control,
            log=self.log,
            folder=self.folder,
            on_line=on_line,
            mark=lambda: newest[0],
        )
        self._judge(ended)

    def _judge(self, ended: Ended) -> None:
        """An exit code of 0 may be a lie, and any other has a reason in the log."""
        tail = ended.tail
        if not ended.exit.ok:
            # An engine that was killed although nobody here asked was killed by the machine, mostly for want of memory.
            raise _failed(self.engine.failure(ended.exit_status, tail, signalled=ended.exit.asked))
        confessed = self.engine.suspicion(tail)
        if confessed is not None:
            raise _failed(confessed)

    async def prove(self, plan: Plan) -> Made:
        """Read back what was made, compare it with the plan, and complete the output with its playlists.

        Raises:
            TaskFailedError: class `output`, naming the first differences.
        """
        outcomes = await self._collect_all(self.engine.inspect(plan, self.out))
        listing = await asyncio.to_thread(list_folder, self.out, self.engine.reads(plan))
        produced = self.engine.read_inspection(plan, outcomes, listing)
        findings = check(plan, produced)
        if findings:
            raise TaskFailedError(FailureClass.OUTPUT, _sentence(findings, self.log))
        try:
            finishing = self.engine.finish(plan, listing)
            for name, data in finishing.items():
                (self.out / name).write_bytes(data)
        except ValueError as error:
            raise TaskFailedError(FailureClass.OUTPUT, str(error)) from error
        except OSError as error:
            raise from_os_error(error, "write the playlists") from error
        sizes = {**listing.sizes, **{name: len(data) for name, data in finishing.items()}}
        self.log.say(f"check: every file is as planned ({len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB)")
        return Made(probes=produced.probes, sizes=sizes)

    async def _collect(self, command: Command) -> Outcome:
        return await collect(command, engines=self.engines, control=self.control, log=self.log, folder=self.folder)

    async def _collect_all(self, commands: tuple[Command, ...]) -> list[Outcome]:
        """The outcomes in the order of the commands, a few at a time; the first failure ends the others."""
        turns = asyncio.Semaphore(INSPECTIONS_AT_ONCE)

        async def one(command: Command) -> Outcome:
            async with turns:
                return await self._collect(command)

        tasks = [asyncio.ensure_future(one(command)) for command in commands]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)


def list_folder(folder: Path, reads: tuple[str, ...] = ()) -> Listing:
    """The size of every file below a folder, and the bytes of some. Blocking."""
    sizes = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    contents = {name: (folder / name).read_bytes() for name in reads if name in sizes}
    return Listing(sizes=dict(sorted(sizes.items())), contents=contents)


def _failed(failure: Failure) -> TaskFailedError:
    return TaskFailedError(failure.failure_class, failure.message)


def _sentence(findings: tuple[Finding, ...], log: AttemptLog) -> str:
    for finding in findings:
        log.say(f"check: {finding.path} {finding.text}")
    first = "; ".join(f"{finding.path} {finding.text}" for finding in findings[:3])
    more = f"; and {len(findings) - 3} more differences" if len(findings) > 3 else ""
    return f"what was made is not what was planned: {first}{more}"
