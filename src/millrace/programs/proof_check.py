"""A finished output held against its proof: every file read, every stream described and decoded again."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from millrace.domain.media import proof_check
from millrace.domain.media.check import Finding
from millrace.domain.media.outputs import SAMPLE_RATE_HZ
from millrace.domain.media.probe import Probe
from millrace.domain.media.proof import NAME
from millrace.domain.media.proof_check import Checksum, Claims, Decoded, Found
from millrace.domain.media.rate_bound import Supply, supply
from millrace.engines.engine import Command, Outcome
from millrace.engines.ffmpeg.decoding import Count, decode_command
from millrace.engines.ffmpeg.failure import failure, suspicion
from millrace.engines.ffmpeg.packets import sizes
from millrace.engines.ffmpeg.probe import inspection_command, read_back
from millrace.engines.renditions import HEADER
from millrace.process.sandbox import Demand
from millrace.programs import ffmpeg
from millrace.runtime.clock import SystemClock
from millrace.worker.attempt_log import Notes
from millrace.worker.control import Control
from millrace.worker.deliver import MANIFEST
from millrace.worker.digest import digest_of
from millrace.worker.engine_run import Engines, collect, follow
from millrace.worker.engines_alive import EnginesAlive
from millrace.worker.failure import TaskFailedError
from millrace.worker.shut_in import way_in


class CannotCheck(Exception):  # noqa: N818  the message begins with these words
    """There is nothing that could be checked; the message says why."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What was checked and what of it does not hold. `unnamed` are files of which the proof says nothing."""

    differences: tuple[Finding, ...]
    files: int
    renditions: int
    frames: int
    joins: int
    unnamed: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything is as the proof says."""
        return not self.differences


async def check(place: Path, given: Path | None, sandbox: str, tell: Callable[[str], None]) -> Verdict:
    """Check a folder with its proof; `tell` is told what is being done.

    Raises:
        CannotCheck: no proof lies there, or none that can be read.
        SettingError: there is no FFmpeg to check with.
    """
    folder, claims = await asyncio.to_thread(_claims, place)
    await ffmpeg.check(given)
    program, clock = ffmpeg.binary(given), SystemClock()
    able = await way_in(Demand(sandbox), (program,), clock=clock)
    tell(f"{len(claims.checksums)} files: size and SHA-256")
    sums = await asyncio.to_thread(_sums, folder, claims)
    with tempfile.TemporaryDirectory() as scratch:
        engines = Engines(clock=clock, alive=EnginesAlive(Path(scratch) / "engines"), able=able)
        decoder = _Decoder(program, folder.absolute(), engines, Path(scratch))
        probes: dict[str, Probe | None] = {}
        decoded: dict[str, Decoded] = {}
        supplies: dict[str, Supply] = {}
        for path in claims.media:
            if path in sums:
                tell(f"{path}: every packet and every picture")
                outcome = await decoder.described(path)
                probes[path] = read_back(outcome.stdout, outcome.stderr, outcome.exit_status)
                if path in claims.bounds:
                    supplies[path] = supply(sizes(outcome.stdout), claims.rate(path), claims.bounds[path])
                decoded[path] = await decoder.decoded(path)
    headers = {path: sums[head].sha256 for path in claims.media if (head := _header(path)) in sums}
    found = Found(checksums=sums, probes=probes, decoded=decoded, headers=headers, supplies=supplies)
    return Verdict(
        differences=proof_check.differences(claims, found),
        files=len(sums),
        renditions=len(decoded),
        frames=sum(one.frames for one in decoded.values()),
        joins=claims.joins,
        unnamed=await asyncio.to_thread(_unnamed, folder, claims),
    )


class _Decoder:
    """Has FFmpeg read the files, shut in as workers have it: who checks a file need not trust it."""

    def __init__(self, program: Path, folder: Path, engines: Engines, scratch: Path) -> None:
        self._program, self._folder, self._engines, self._scratch = program, folder, engines, scratch
        self._control, self._log = Control(engines.clock), Notes(engines.clock)

    async def described(self, path: str) -> Outcome:
        command = inspection_command(self._program, path, self._folder, 1.0)
        try:
            return await collect(
                command, engines=self._engines, control=self._control, log=self._log, folder=self._scratch
            )
        except TaskFailedError as error:
            return Outcome(exit_status=1, stdout="", stderr=str(error))

    async def decoded(self, path: str) -> Decoded:
        count = Count()
        fault = await self._follow(decode_command(self._program, path, self._folder), count)
        return count.total(SAMPLE_RATE_HZ, fault)

    async def _follow(self, command: Command, count: Count) -> str:
        """What the decoder complained of; empty for nothing."""
        lines = 0

        def on_line(line: str) -> None:
            nonlocal lines
            lines += 1
            count.feed(line)

        try:
            ended = await follow(
                command,
                engines=self._engines,
                control=self._control,
                log=self._log,
                folder=self._scratch,
                on_line=on_line,
                mark=lambda: lines,
            )
        except TaskFailedError as error:
            return str(error)
        if not ended.exit.ok:
            return failure(ended.exit_status, ended.tail, signalled=False).message
        confessed = suspicion(ended.tail)
        return "" if confessed is None else confessed.message


def _claims(place: Path) -> tuple[Path, Claims]:
    """The folder of an output, which may be named by the proof in it, and what that claims. Blocking."""
    path = place if place.is_file() else place / NAME
    try:
        return path.parent, proof_check.read(path.read_bytes())
    except OSError as error:
        raise CannotCheck(
            f"cannot check {path.parent}: {NAME} cannot be read there ({error.strerror}); name the folder of an output"
        ) from error
    except ValueError as error:
        raise CannotCheck(f"cannot check {path}: {error}") from error


def _sums(folder: Path, claims: Claims) -> dict[str, Checksum]:
    """The files that are there. What a link leads to is not part of the output. Blocking."""
    found = {}
    root = folder.resolve()
    for name in claims.checksums:
        path = root / name
        try:
            if path.resolve() == path and path.is_file():
                found[name] = Checksum(digest_of(path), path.stat().st_size)
        except OSError:
            continue  # what cannot be read is missing
    return found


def _header(path: str) -> str:
    return f"{path.rpartition('/')[0]}/{HEADER}"


def _unnamed(folder: Path, claims: Claims) -> tuple[str, ...]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return tuple(sorted(name for name in names if name not in claims.checksums and name not in (NAME, MANIFEST)))
