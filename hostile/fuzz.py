"""Mutated films through the probe, the plan and the first decoded picture, in the sandbox: what must never happen is counted."""

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from farm_worker import FFMPEG
from msgspec import Struct, field

from hostile.canary import Canary
from hostile.corpus import Kit
from hostile.mutate import mutated
from hostile.stage import PROFILE, engines
from millrace.engines.engine import Command
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.engines.ffmpeg.reading import guarded, source
from millrace.process.sandbox import Able, Demand
from millrace.runtime.clock import SystemClock
from millrace.worker.attempt_log import Notes
from millrace.worker.bounds import Bounds
from millrace.worker.control import Control
from millrace.worker.engine_run import Engines
from millrace.worker.engines_alive import EnginesAlive
from millrace.worker.failure import TaskFailedError
from millrace.worker.media_steps import MediaSteps
from millrace.worker.shut_in import way_in

LIMIT_S = 30.0
"""For one film of some kilobytes; it takes a tenth of a second."""
KINDS = {
    "a.mp4": ("-c:v", "libx264", "-bf", "2", "-c:a", "aac"), "b.mkv": ("-c:v", "libx265", "-x265-params", "log-level=none", "-c:a", "libopus"),
    "c.ts": ("-c:v", "mpeg2video", "-c:a", "mp2"), "d.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-c:a", "libvorbis"),
    "e.avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"), "f.mov": ("-c:v", "prores", "-c:a", "pcm_s16le"), "g.flv": ("-c:v", "flv", "-c:a", "libmp3lame"),
    "h.mkv": ("-c:v", "ffv1", "-c:a", "flac"), "i.ogg": ("-c:v", "libtheora", "-c:a", "libvorbis"), "j.gif": ("-an",),
    "k.mxf": ("-c:v", "mpeg2video", "-c:a", "pcm_s16le"), "l.mp4": ("-c:v", "libsvtav1", "-svtav1-params", "lp=1", "-c:a", "libopus"),
}  # fmt: skip


class Tally(Struct, kw_only=True):
    """How films ended, and what must not be: by the seed that shows it."""

    films: int = 0
    read: int = 0
    refused: int = 0
    decoded: int = 0
    faults: list[str] = field(default_factory=list)
    longest_s: float = 0.0


def films(kit: Kit) -> Sequence[bytes]:
    """One little film of each kind that this FFmpeg can make."""
    found = []
    for name, options in KINDS.items():
        with suppress(subprocess.CalledProcessError):  # an encoder that this build has not
            found.append(kit.clip(name, *options, seconds=0.2).read_bytes())
    return found


class Fuzz:
    """`folder` is where films lie and engines work, `able` how those are shut in."""

    def __init__(self, folder: Path, canary: Canary, able: Able | None) -> None:
        self._folder, self._canary = folder, canary
        self._engine = FFmpeg(FFMPEG)
        self._clock = SystemClock()
        self._engines = Engines(
            clock=self._clock,
            alive=EnginesAlive(folder / "engines"),
            able=able,
            bounds=Bounds(describe_s=LIMIT_S),
            stall_s=LIMIT_S,
        )
        self._films = films(Kit(FFMPEG, folder, canary))
        self.tally = Tally()

    async def one(self, seed: int) -> None:
        """One film, and what came of it."""
        work = self._folder / f"work-{seed}"
        work.mkdir()
        path = work / "film"
        path.write_bytes(mutated(self._films, seed))
        began_s = time.monotonic()
        try:
            await asyncio.wait_for(self._judge(path, work), 3 * LIMIT_S)
        except TimeoutError:
            self._fault(seed, "hangs")
        except Exception as error:  # noqa: BLE001  what comes through here would be the worker's own fault
            self._fault(seed, f"{type(error).__name__}: {error}")
        took_s = time.monotonic() - began_s
        self.tally.films += 1
        self.tally.longest_s = max(self.tally.longest_s, took_s)
        if not self._canary.untouched():
            self._fault(seed, "touched a canary")
        shutil.rmtree(work)

    async def _judge(self, path: Path, work: Path) -> None:
        steps = MediaSteps(
            engine=self._engine, engines=self._engines, control=Control(self._clock), log=Notes(self._clock), folder=work,
            out=work / "out",
        )  # fmt: skip
        try:
            probe = await steps.probe(path)
            self.tally.read += 1
            steps.plan(PROFILE, probe, {})
            first = Command(
                argv=(*guarded(FFMPEG), *source(path), "-frames:v", "1", "-t", "1", "-f", "null", "-"),
                label="decode",
                reads=(path,),
            )
            outcome = await steps._collect(first)  # noqa: SLF001  the one step of its own that the worker has not
            self.tally.decoded += outcome.exit_status == 0
        except TaskFailedError as error:
            assert error.failure.message, path  # noqa: PT017
            self.tally.refused += 1

    def _fault(self, seed: int, what: str) -> None:
        self.tally.faults.append(f"seed {seed}: {what}")


async def _fuzz(folder: Path, first: int, more: Callable[[int], bool], at_once: int) -> Tally:
    able = await way_in(Demand.AUTO, (FFMPEG,), clock=SystemClock())
    with Canary(folder) as canary:
        fuzz = Fuzz(folder, canary, able)
        seeds = iter(range(first, 1 << 62))

        async def go_on() -> None:
            while more(fuzz.tally.films):
                await fuzz.one(next(seeds))

        await asyncio.gather(*(go_on() for _ in range(at_once)))
        fuzz.tally.faults += [f"left behind: {one}" for one in engines(folder)]
        return fuzz.tally


def fuzz(first: int, *, films: int = 0, seconds: float = 0.0, at_once: int = 2) -> Tally:
    """So many films from a seed on, or as many as so many seconds allow."""
    began_s = time.monotonic()

    def more(done: int) -> bool:
        return done < films if films else time.monotonic() - began_s < seconds

    with tempfile.TemporaryDirectory(prefix="millrace-fuzz-") as folder:
        return asyncio.run(_fuzz(Path(folder), first, more, at_once))
