"""The steps of a task that an engine does: probe, plan, encode, check, finish."""

import asyncio
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

from millrace.domain.failures import Failure, FailureClass, Refused
from millrace.domain.media.byte_ranges import Ranges
from millrace.domain.media.check import Finding, check
from millrace.domain.media.chunks import PER_WORKER, with_split
from millrace.domain.media.damage import Damage
from millrace.domain.media.outputs import Plan
from millrace.domain.media.pace import FIRST_PASS
from millrace.domain.media.parameters import chunking_of
from millrace.domain.media.plan import plan as plan_of
from millrace.domain.media.probe import Probe
from millrace.domain.media.profile_document import ProfileError, profile_from
from millrace.domain.media.proof import Maker, Reused, proof
from millrace.domain.media.split import Chunk, Chunking
from millrace.domain.records import Kind, NewPart
from millrace.domain.sessions import family_of
from millrace.engines.engine import (
    Command,
    DamagedInput,
    Done,
    Engine,
    EngineFailure,
    Joined,
    Listing,
    Outcome,
    Progress,
    ShortOfMemory,
)
from millrace.engines.fragments import read_fragments
from millrace.engines.joining import chunk_folder, miscounted
from millrace.worker.ahead import Ahead
from millrace.worker.attempt_log import AttemptLog
from millrace.worker.control import Control
from millrace.worker.engine_run import Ended, Engines, Follow, collect, follow
from millrace.worker.failure import DamagedError, TaskFailedError, from_os_error
from millrace.worker.reuse import Known, Reuse
from millrace.worker.side_by_side import OneProgress, Told, side_by_side, within
from millrace.worker.source import Seen, changed, check_unchanged, look

PIECES = "pieces"
INSPECTIONS_AT_ONCE = 4
FRAMES_BEYOND, SECONDS_BEYOND = 1000, 60
"""How far an encode may go beyond its plan before it is ended: it would fail its check in any case, if it came to an end."""


class Made(Struct, frozen=True, kw_only=True):
    """What an attempt made and proved: probes by relative path, the size of every file in the folder, and the evidence."""

    probes: Mapping[str, Probe]
    sizes: Mapping[str, int]
    proof: Mapping[str, object]


class MediaSteps(Struct, kw_only=True):
    """One attempt's use of one engine.

    `folder` is the attempt's own, `out` the folder of its outputs, `cores` how many it may keep busy. `ahead` may
    be a probe that was begun already. `chunking` is what the job says of chunks. `headers` is what
    joining found: the SHA-256 of each rendition's initialisation segment. `makers` says of each chunk (None: sound and text) that
    another worker made who that was. `probed` is all that the probe said. `reuse` is what was made before; None where nothing is kept. `reused` is what
    was taken of it. `cpu_s` is what engines have used until now, those apart that only describe. `tolerant`: the source is damaged,
    and the plan reckons with it. `watched` is the source, as it was when the attempt got it, where others may write to it, and `source_bytes` is
    its length. `read` is what was read of an upload that had not arrived when the film was divided.
    """

    engine: Engine
    engines: Engines
    control: Control
    log: AttemptLog
    folder: Path
    out: Path
    cores: int = 1
    ahead: Ahead | None = None
    chunking: Chunking = Chunking.AUTO
    headers: Mapping[str, str] = {}
    makers: Mapping[int | None, Maker] = {}
    probed: Outcome | None = None
    reuse: Reuse | None = None
    reused: Sequence[Reused] = ()
    tolerant: bool = False
    watched: tuple[Path, Seen] | None = None
    source_bytes: int | None = None
    read: Ranges | None = None
    cpu_s: float = 0.0

    async def watch(self, source: Path, *, is_ours: bool) -> None:
        """Note what the source is before anything reads it; nobody else writes to one that is ours. Raises TaskFailedError."""
        try:
            seen = await asyncio.to_thread(look, source)
        except OSError as error:
            raise changed(f"it is gone ({error.strerror})") from error
        self.source_bytes = seen.marks.size
        self.watched = None if is_ours else (source, seen)

    async def unchanged(self) -> None:
        """Pass, if the source is what it was. Raises TaskFailedError, class `input`."""
        if self.watched is not None:
            await asyncio.to_thread(check_unchanged, *self.watched)

    async def probe(self, source: Path) -> Probe:
        """The facts about a source. Raises TaskFailedError, class `input` for what is no usable media file; DamagedError where some
        of it may be.
        """
        probe = await self.probed_briefly(source) or await self._probed(source)
        command = self.engine.first_picture(source, probe)
        return probe if command is None else self.engine.with_first_picture(probe, await self._collect(command))

    async def _probed(self, source: Path) -> Probe:
        """The same by what FFmpeg reads of all of it, without what is said in pictures alone."""
        command = self.engine.probe(source)
        outcome = None if self.ahead is None else await self.ahead.outcome(command, self.log)
        if outcome is None:
            outcome = await self._collect(command)
        try:
            try:
                probe = self.engine.read_probe(outcome.stdout, outcome.stderr, outcome.exit_status)
            except ShortOfMemory:
                outcome = await self._collect(self.engine.probe(source, sparing=True))
                probe = self.engine.read_probe(outcome.stdout, outcome.stderr, outcome.exit_status)
        except DamagedInput as error:
            self.log.write(outcome.stderr)
            raise DamagedError(error.failure.message, probe=error.probe, damage=error.damage) from error
        except EngineFailure as error:
            self.log.write(outcome.stderr)
            raise _failed(error.failure) from error
        self.probed = outcome
        return probe

    async def probed_briefly(self, source: Path, *, fewest: int | None = None) -> Probe | None:
        """The same of a film with an index that is long, or has `fewest` packets; None where there is none."""
        try:
            brief = await asyncio.to_thread(partial(self.engine.brief, source, fewest=fewest))
        except OSError as error:
            raise from_os_error(error, "read the input") from error
        if brief is None:
            return None
        if self.ahead is not None:
            await self.ahead.drop()  # it reads all of the film
            self.ahead = None
        outcomes = await self.collect_all(brief.commands)
        try:
            return self.engine.read_brief(brief, outcomes)
        except DamagedInput:
            return None  # all that is there of it has to be known
        except EngineFailure as error:
            self.log.write(outcomes[0].stderr)
            raise _failed(error.failure) from error

    def plan(
        self,
        profile: Mapping[str, object],
        probe: Probe | None,
        parameters: Mapping[str, object],
        damage: Damage | None = None,
    ) -> Plan:
        """What is to be made here, of a source in which so much `damage` was found. Raises TaskFailedError, class `request` or `input`."""
        given = {name: value for name, value in parameters.items() if value is not None}
        try:
            made = plan_of(profile_from(profile), probe, parameters=given, damage=damage)
            self.chunking = chunking_of(given)
        except ProfileError as error:
            raise TaskFailedError(FailureClass.REQUEST, f"cannot use the profile: {error}") from error
        except Refused as error:
            raise TaskFailedError(error.failure_class, error.sentence) from error
        self.tolerant = made.mending is not None
        return self.divided(made, probe)

    def divided(
        self,
        plan: Plan,
        probe: Probe | None,
        *,
        helpers: int = 0,
        parts_each: int = PER_WORKER,
        arriving: bool = False,
    ) -> Plan:
        """The plan with the division of its work, here or with so many `helpers`, each of whom gets about so many parts at the most; of a
        film that is still `arriving` also where that takes no less time.
        """
        return with_split(
            plan,
            probe,
            cores=self.cores,
            chunking=self.chunking,
            helpers=helpers,
            each=parts_each,
            arriving=arriving,
        )

    def explain(self, plan: Plan) -> None:
        """Write what was decided into the log."""
        for note in plan.notes:
            self.log.say(f"plan: {note}")
        self.log.say(f"plan: {plan.split.reason}")

    async def known(self, plan: Plan) -> Known:
        """The plan as it is best made, for what is there of it already."""
        if self.reuse is None:
            return Known(plan=plan)
        return await self.reuse.planned(self.engine, plan, self.chunking, self.out, self.work)

    async def encode(self, plan: Plan, source: Path | None, told: Told) -> None:
        """Make the plan's files in `out`. Raises TaskFailedError."""
        commands = self.engine.encode(plan, source, self.out, self.work)
        if done := await self._filled(plan, commands):
            commands = self.engine.encode(plan, source, self.out, self.work, done=done)
        first = self.engine.first_pass(plan, source, self.work) if plan.is_two_pass and commands else ()
        if first:
            await self.run(first, within(told, 0, FIRST_PASS), at_once=1)
            told = within(told, FIRST_PASS, 1 - FIRST_PASS)
        await self.run(commands, told, at_once=plan.split.at_once, plan=plan)
        if first:
            # What x264 keeps of a film between its passes grows with it.
            await asyncio.to_thread(shutil.rmtree, self.work, ignore_errors=True)
        if source is not None and not plan.split.is_whole:
            await self.join(plan, source)

    async def _filled(self, plan: Plan, commands: Sequence[Command]) -> Done:
        """The places of those of their pieces that were made before and are there now."""
        if self.reuse is None:
            return frozenset()
        done, reused = await self.reuse.fill(plan, commands)
        self.reused = (*self.reused, *reused)
        return done

    def encoders(self, plan: Plan) -> Sequence[str]:
        """Which encoders all parts of the plan are made with."""
        return sorted(self.engine.encoders_in(plan))

    @property
    def work(self) -> Path:
        """The folder of pieces that are to be joined."""
        return self.folder / PIECES

    def parts(self, plan: Plan) -> tuple[NewPart, ...]:
        """The parts of a plan for several workers, in the order in which they are to be claimed: sound and text, which run through
        the whole film, then the longest chunk.
        """
        sides = (NewPart(kind=Kind.SIDES),) if self.engine.has_sides(plan) else ()
        chunks = sorted(plan.split.chunks, key=lambda chunk: (-(chunk.frames + chunk.lead), chunk.number))
        return (*sides, *(NewPart(kind=Kind.CHUNK, number=one.number, frames=one.frames) for one in chunks))

    async def encode_part(self, plan: Plan, chunk: Chunk | None, source: Path, told: Told) -> Mapping[str, int]:
        """Make one chunk, or (None) sound and text. Returns the size of each file by its path below the folder of the attempt.
        Raises TaskFailedError.
        """
        commands = self.engine.encode_part(plan, chunk, source, self.out, self.work)
        if done := await self._filled(plan, commands):
            commands = self.engine.encode_part(plan, chunk, source, self.out, self.work, done=done)
        await self.run(commands, told, at_once=1, plan=plan)
        sizes = {}
        for folder in (self.out, self.work):
            listing = await asyncio.to_thread(list_folder, folder)
            sizes.update({f"{folder.name}/{name}": size for name, size in listing.sizes.items()})
        return sizes

    def clear(self) -> None:
        """Remove what was made so far. Blocking."""
        for folder in (self.out, self.work):
            shutil.rmtree(folder, ignore_errors=True)

    async def run(self, commands: Sequence[Command], told: Told, *, at_once: int, plan: Plan | None = None) -> None:
        """Run commands that report their progress, `at_once` side by side, and count the frames of the chunks of the `plan`; those that take
        sessions of hardware one after the other, because the master counts what one of them takes. Raises TaskFailedError.
        """
        if any(family_of(word) for command in commands for word in command.argv):
            at_once = 1
        folders = (self.out, self.work, *(folder for command in commands for folder in command.folders))
        await asyncio.to_thread(_make, folders)
        progress = OneProgress(commands)

        async def one(command: Command) -> None:
            await self._encode_one(command, progress, told)
            if plan is not None and command.chunk is not None and (wrong := await self.miscounted(plan, command.chunk)):
                self.log.say(f"check: {command.label}: it made {wrong}; it is made again")
                await asyncio.to_thread(_make, command.folders, anew=True)
                await self._encode_one(command, progress, told)
                if wrong := await self.miscounted(plan, command.chunk):
                    # Of a class that is tried elsewhere: this machine may be at fault.
                    raise TaskFailedError(
                        FailureClass.ENGINE,
                        f"cannot {command.label}: it made {wrong}, twice; where another machine does the same, --chunks never helps",
                    )
            if self.reuse is not None:
                await self.reuse.keep(command.pieces)

        await side_by_side(commands, one, at_once=at_once)

    async def miscounted(self, plan: Plan, chunk: Chunk) -> str:
        """Which rendition of a chunk has another number of frames than planned, as a clause; empty where none has."""
        names = tuple(video.name for video in plan.videos)
        listing = await asyncio.to_thread(list_folder, self.work / chunk_folder(chunk), fragmented=names)
        return miscounted(plan, chunk, listing)

    async def _encode_one(self, command: Command, progress: OneProgress, told: Told) -> None:
        reader = self.engine.progress()
        newest: list[object] = [None]

        def on_line(line: str) -> Failure | None:
            report = reader.feed(line)
            if report is None:
                return None
            newest[0] = (report.frame, report.out_time_s)
            told(*progress.take(command, report))
            return beyond(command, report)

        self._judge(await self._follow(command, on_line, lambda: newest[0]))

    async def _follow(self, command: Command, on_line: Follow, mark: Callable[[], object]) -> Ended:
        ended = await follow(
            command,
            engines=self.engines,
            control=self.control,
            log=self.log,
            folder=self.folder,
            on_line=on_line,
            mark=mark,
        )
        self.cpu_s += ended.exit.cpu_s
        return ended

    async def join(self, plan: Plan, source: Path | None) -> None:
        """Make one output of the pieces in `work` and `out`; what was joined is kept nowhere twice. Raises TaskFailedError."""
        work = self.work
        await asyncio.to_thread(list_folder, self.out)  # where sound and text were made: it must not lead elsewhere
        pieces = await asyncio.to_thread(list_folder, work, self.engine.pieces(plan))
        try:
            joined = self.engine.join(plan, pieces)
        except EngineFailure as error:
            raise _failed(error.failure) from error
        try:
            await asyncio.to_thread(
                put_together, work, self.out if joined.folder is None else work / joined.folder, joined
            )
            commands = self.engine.mux(plan, source, self.out, work)
            for folder in (folder for command in commands for folder in command.folders):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise from_os_error(error, "join the chunks") from error
        for command in commands:
            self._judge(await self._follow(command, lambda _: None, lambda: None))
        self.log.say(f"join: {len(joined.moves)} segments of {len(plan.split.chunks)} chunks, their headers are equal")
        self.headers = joined.headers
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)

    def _judge(self, ended: Ended) -> None:
        """An exit code of 0 may be a lie, and any other has a reason in the log."""
        tail = ended.tail
        if not ended.exit.ok:
            # An engine that was killed although nobody here asked was killed by the machine, mostly for want of memory.
            raise _unread(self.engine.failure(ended.exit_status, tail, signalled=ended.exit.asked))
        confessed = self.engine.suspicion(tail)
        if confessed is None or (self.tolerant and confessed.failure_class is FailureClass.INPUT):
            return
        raise _unread(confessed)

    async def prove(self, plan: Plan) -> Made:
        """Read back what was made, compare it with the plan, and complete the output with its playlists.

        Raises:
            TaskFailedError: class `output`, naming the first differences.
        """
        outcomes = await self.collect_all(self.engine.inspect(plan, self.out))
        listing = await asyncio.to_thread(
            list_folder, self.out, self.engine.reads(plan), fragmented=self.engine.fragmented(plan)
        )
        produced = self.engine.read_inspection(plan, outcomes, listing)
        findings = check(plan, produced)
        if findings:
            raise TaskFailedError(FailureClass.OUTPUT, _sentence(findings, self.log))
        try:
            finishing = await asyncio.to_thread(self.engine.finish, plan, listing)
            await asyncio.to_thread(write_files, self.out, finishing)
        except ValueError as error:
            raise TaskFailedError(FailureClass.OUTPUT, str(error)) from error
        except OSError as error:
            raise from_os_error(error, "write the playlists") from error
        sizes = {**listing.sizes, **{name: len(data) for name, data in finishing.items()}}
        files = "1 file" if len(sizes) == 1 else f"{len(sizes)} files"
        self.log.say(f"check: every file is as planned ({files}, {sum(sizes.values()) / 1e6:,.1f} MB)")
        return Made(
            probes=produced.probes,
            sizes=sizes,
            proof=proof(plan, produced, self.headers, self.makers, self.reused),
        )

    async def begin_anew(self) -> None:
        """Take away what an encode has left that came to nothing. What is made of a damaged film now is kept for no other job."""
        self.reuse, self.reused = None, ()
        for folder in (self.out, self.work):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _collect(self, command: Command) -> Outcome:
        return await collect(command, engines=self.engines, control=self.control, log=self.log, folder=self.folder)

    async def collect_all(self, commands: Sequence[Command]) -> list[Outcome]:
        """The outcomes in the order of the commands, a few at a time; the first failure ends the others."""
        return await side_by_side(commands, self._collect, at_once=INSPECTIONS_AT_ONCE)


def beyond(command: Command, report: Progress) -> Failure | None:
    """The failure of an encode that makes far more than was planned: what it reads has another length than it had when probed."""
    if command.frames and report.frame > command.frames + FRAMES_BEYOND:
        made, planned = f"{report.frame} frames", str(command.frames)
    elif command.duration and (report.out_time_s or 0) > command.duration + SECONDS_BEYOND:
        made, planned = f"{report.out_time_s:,.0f} s", f"{float(command.duration):,.0f}"
    else:
        return None
    sentence = f"cannot {command.label}: it made {made} and went on, where {planned} were planned; the input contradicts itself"
    return Failure(failure_class=FailureClass.OUTPUT, message=sentence)


def _make(folders: Iterable[Path], *, anew: bool = False) -> None:
    """Make folders, or with `anew` make them empty. Blocking. Raises TaskFailedError."""
    try:
        for folder in folders:
            if anew:
                shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, "make the folders of the output") from error


def put_together(work: Path, target: Path, joined: Joined) -> None:
    """Move and write what was decided. Blocking. Raises OSError."""
    for piece, to in joined.moves:
        (target / to).parent.mkdir(parents=True, exist_ok=True)
        (work / piece).rename(target / to)
    write_files(target, joined.files)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their relative paths. Blocking. Raises OSError."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a cache may hold what is replaced under another name
        path.write_bytes(data)


def list_folder(folder: Path, reads: tuple[str, ...] = (), *, fragmented: tuple[str, ...] = ()) -> Listing:
    """The size of every file below a folder, the bytes of some, and the fragments of the segments in some folders. Blocking.

    Raises:
        TaskFailedError: class `output`; something is neither file nor folder. Whoever reads the output is not shut in: a link
            that a taken-over engine left would lead out of the sandbox.
    """
    sizes = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place) / name
            found, kept = path.lstat(), path.relative_to(folder).as_posix()
            if stat.S_ISREG(found.st_mode):
                sizes[kept] = found.st_size
            elif not stat.S_ISDIR(found.st_mode):
                raise TaskFailedError(FailureClass.OUTPUT, f"cannot take the output: {kept} is neither file nor folder")
    contents = {name: (folder / name).read_bytes() for name in reads if name in sizes}
    fragments = {}
    for name in sizes:
        if name.endswith(".m4s") and name.rpartition("/")[0] in fragmented:
            # What is none is told by the check, or missed by who needs it.
            with suppress(ValueError), (folder / name).open("rb") as file:
                fragments[name] = read_fragments(file)
    return Listing(sizes=dict(sorted(sizes.items())), contents=contents, fragments=fragments)


def _failed(failure: Failure) -> TaskFailedError:
    return TaskFailedError(failure.failure_class, failure.message)


def _unread(failure: Failure) -> TaskFailedError:
    """The probe took the input for sound, so what fails because of it now is damage."""
    return DamagedError(failure.message) if failure.failure_class is FailureClass.INPUT else _failed(failure)


def _sentence(findings: tuple[Finding, ...], log: AttemptLog) -> str:
    for finding in findings:
        log.say(f"check: {finding.path} {finding.text}")
    first = "; ".join(f"{finding.path} {finding.text}" for finding in findings[:3])
    more = f"; and {len(findings) - 3} more differences" if len(findings) > 3 else ""
    return f"what was made is not what was planned: {first}{more}"
