"""How long it takes to say how a long film will be encoded: its description by FFmpeg, the reading of that, and the plan."""

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from bench.measure import median, spread, table
from bench.media import FFMPEG, clip
from millrace.domain.media.chunks import with_split
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import Probe
from millrace.engines.engine import Command, Outcome
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.engines.profiles import named

T = TypeVar("T")
LENGTHS_S = {"10 min": 600, "2 h": 7200}
LOOP_S = 10
CONTAINERS = ("mp4", "mkv")
CORES, HELPERS = 2, 7
GOAL_S = 1.0


def planning(folder: Path, runs: int) -> str:
    """Films of 24 frames a second with sound, their pictures tiny: what counts here is how many packets there are."""
    rows, goals = [], []
    for container in CONTAINERS:
        for name, length_s in LENGTHS_S.items():
            film = _film(folder, container, length_s)
            times = [_once(film) for _ in range(runs + 1)][1:]
            totals = [sum(each) for each in times]
            frames = f"{length_s * 24:,}"
            rows.append(
                [
                    f"{name}, {container}",
                    frames,
                    *(f"{median(part):.2f}" for part in zip(*times, strict=True)),
                    spread(totals),
                ]
            )
            goals.append((name, container, median(totals)))
            film.unlink()
    verdicts = ", ".join(
        f"{container} {'met' if total <= GOAL_S else 'missed'} ({total:.2f} s)"
        for name, container, total in goals
        if name == "2 h"
    )
    head = ["film", "frames", "index", "FFmpeg's description", "reading it", "plan and division", "in all"]
    return (
        "## Planning: how long until it is said how a film will be encoded\n\n"
        f"Seconds on the wall, medians of {runs}; a ladder of four, {CORES} cores, {HELPERS} parts that others could begin.\n\n"
        f"{table(head, rows)}\n\ngoal for two hours, at most {GOAL_S:g} s: {verdicts}\n"
    )


def _film(folder: Path, container: str, length_s: int) -> Path:
    """Pictures and sound that are copied again and again, each at its own length, so that the rate stays constant."""
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "48", "-bf", "2"]
    pictures = clip(folder, "pictures.mp4", ["-f", "lavfi", "-i", f"testsrc2=s=64x36:r=24:d={LOOP_S}", *encoder])
    sound = clip(folder, "sound.m4a", ["-f", "lavfi", "-i", f"sine=d={LOOP_S}:sample_rate=48000", "-c:a", "aac"])
    loops = ("-stream_loop", "-1", "-i")
    both = [*loops, str(pictures), *loops, str(sound), "-map", "0:v", "-map", "1:a", "-t", str(length_s), "-c", "copy"]
    return clip(folder, f"film.{container}", both)


def _once(film: Path) -> tuple[float, float, float, float]:
    """Seconds for the index, FFmpeg's description, the reading of that, the plan."""
    engine, wanted = FFmpeg(Path(FFMPEG)), named("web-hls")
    brief, index_s = _timed(lambda: engine.brief(film))
    commands = (engine.probe(film),) if brief is None else brief.commands
    with ThreadPoolExecutor() as pool:
        done, run_s = _timed(lambda: list(pool.map(_run, commands)))

    def read() -> Probe | None:
        if brief is None:
            return engine.read_probe(done[0].stdout, done[0].stderr, 0)
        return engine.read_brief(brief, done)

    probe, read_s = _timed(read)
    if probe is None:
        raise SystemExit(f"cannot measure: the index of {film.name} contradicts its description")
    _, plan_s = _timed(lambda: with_split(plan(wanted, probe), probe, cores=CORES, helpers=HELPERS))
    return index_s, run_s, read_s, plan_s


def _run(command: Command) -> Outcome:
    done = subprocess.run(command.argv, capture_output=True, text=True, check=True)
    return Outcome(exit_status=0, stdout=done.stdout, stderr=done.stderr)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began
