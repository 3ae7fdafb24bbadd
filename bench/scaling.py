"""One film on 1, 2 and 4 workers of one core each, and from what that cost, the time of a long film on up to a thousand.

A worker's core is a control group's quota, so that four fit on fewer cores; every worker is pinned to one core, as a machine of
one core would be. The simulation divides a film of two hours by the planner itself and adds up what was measured: nothing in it
is guessed but that every worker is as fast as the others.
"""

import contextlib
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench.measure import median, spread, table
from bench.media import MILLRACE, SAMPLE, clip
from bench.servers import Master, end, master, wait_until
from millrace.domain.media.chunks import with_split
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import Probe, VideoStream
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.split import Chunking

WORKERS = (1, 2, 4)
FILM_S, RATE, GOP_S = 60, 25, 2
PROFILE = {
    "name": "scaling",
    "packaging": "mp4",
    "gop_s": GOP_S,
    "renditions": [{"video": {"codec": "h264", "height": 720, "preset": "medium", "crf": 22}}],
    "audio": [{"codec": "aac"}],
}
LEFT_FOR_OTHERS = 0.2
"""Cores for the master and the bench."""
PERIOD_US = 20_000
"""Of a quota; a short one lets the shares be even."""
LONG_S = 2 * 3600
COUNTS = (1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)
_GROUPS = Path("/sys/fs/cgroup/cpu")
_INTO = ("/bin/sh", "-c", 'echo $$ > "$1" && shift && core=$1 && shift && exec taskset -c "$core" "$@"', "sh")
"""A shell that goes into a group and onto a core, and becomes what it is given."""
_END_S, _READY_S = 1800.0, 120.0


@dataclass(frozen=True, slots=True)
class Went:
    """One run, in seconds: `all` from the submission to the end; `plan` and `join` are the attempts of the job's first task, `chunks`
    those of its chunks, and `engines` what FFmpeg took of the last.
    """

    all: float
    plan: float
    chunks: tuple[float, ...]
    engines: float
    join: float

    @property
    def handover(self) -> float:
        """What a chunk takes beside its encode."""
        return max(0.0, sum(self.chunks) - self.engines) / max(1, len(self.chunks))


def scaling(folder: Path, runs: int) -> str:
    """The section of the benchmarks."""
    if (why := _cannot()) is not None:
        return f"## Scaling\n\nNot measured: {why}.\n"
    quota = min(1.0, ((os.cpu_count() or 1) - LEFT_FOR_OTHERS) / max(WORKERS))
    # A key frame every two seconds, as cameras and most files have them.
    keys = [
        "-vf",
        "fps=25",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        "18",
        "-g",
        str(RATE * GOP_S),
        "-sc_threshold",
        "0",
    ]
    film = clip(
        folder,
        "film.mp4",
        ["-stream_loop", str(FILM_S // 5), "-i", str(SAMPLE), "-t", str(FILM_S), *keys, "-c:a", "copy"],
    )
    found: dict[int, list[Went]] = {count: [] for count in WORKERS}
    for turn in range(runs):
        for count, went in found.items():
            went.append(_run(folder / f"{turn}-{count}", film, count, quota))
            print(f"  {count} workers of {quota:.2f} of a core: {went[-1].all:6.1f} s", flush=True)
    return _report(found, quota, runs)


def _cannot() -> str | None:
    if not os.access(_GROUPS / "cgroup.procs", os.W_OK) or not (_GROUPS / "cpu.cfs_quota_us").exists():
        return "there is no control group for CPU time that this user may make groups in"
    return None


# One run ---------------------------------------------------------------------------------------------------------------


def _run(folder: Path, film: Path, count: int, quota: float) -> Went:
    folder.mkdir(parents=True)
    with master(folder / "master", "", secrets.token_hex(16)) as farm, contextlib.ExitStack() as started:
        for number in range(count):
            started.enter_context(_worker(folder / f"w{number}", farm, number, quota, [film.parent, folder]))
        wait_until(lambda: _ready(farm) == count, f"{count} workers", _READY_S)
        began_s = time.monotonic()
        body = {"profile": PROFILE, "input": str(film), "output": str(folder / "out"), "parameters": {"chunks": "auto"}}
        farm.post("/v1/jobs", body)
        wait_until(lambda: farm.get("/v1/jobs/1")["state"] in ("completed", "failed"), "the film", _END_S)
        all_s = time.monotonic() - began_s
        job = farm.get("/v1/jobs/1")
        if job["state"] != "completed":
            raise SystemExit(f"cannot measure: the job failed: {job['failure']}")
        logs = farm.text("/v1/jobs/1/logs")
        return _went(all_s, job, logs)


@contextlib.contextmanager
def _worker(folder: Path, farm: Master, number: int, quota: float, roots: Sequence[Path]) -> Iterator[None]:
    """A worker on one core, for a part of its time."""
    folder.mkdir()
    group = _GROUPS / f"millrace-bench-{os.getpid()}-{number}"
    group.mkdir()
    (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
    (group / "cpu.cfs_quota_us").write_text(str(int(PERIOD_US * quota)))

    command = [
        MILLRACE,
        "worker",
        "--master",
        f"http://{farm.address[0]}:{farm.address[1]}",
        "--state",
        str(folder),
        "--name",
        f"w{number}",
    ]
    command += [part for root in roots for part in ("--media-root", str(root))]
    place = [*_INTO, str(group / "cgroup.procs"), str(number % (os.cpu_count() or 1))]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*place, *command], env={**os.environ, "MILLRACE_API_KEY": farm.key}, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        end(process)
        group.rmdir()


def _ready(farm: Master) -> int:
    return sum(node["state"] == "ready" for node in farm.get("/v1/nodes")["nodes"])


_CHUNK = re.compile(r"^\S+ encode frames \d+ to \d+: .*?; ([\d.]+) s,", re.MULTILINE)


def _went(all_s: float, job: dict[str, Any], logs: str) -> Went:
    kinds = {task["task"]: task["kind"] for task in job["tasks"]}
    took: dict[str, list[float]] = {}
    for one in job["attempts"]:
        kind = (
            "chunk" if kinds[one["task"]] == "chunk" else "lead" if one["task"] == job["tasks"][0]["task"] else "sides"
        )
        took.setdefault(kind, []).append(_moment(one["ended"]) - _moment(one["claimed"]))
    lead = took["lead"]
    return Went(
        all=all_s,
        plan=lead[0] if len(lead) > 1 else 0.0,
        chunks=tuple(took.get("chunk", ())),
        engines=sum(float(one) for one in _CHUNK.findall(logs)),
        join=lead[-1] if len(lead) > 1 else 0.0,
    )


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# A long film on many ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured, in seconds of one worker: for a frame `encode`, `plan` (probing) and `join` (joining, checking, proving,
    delivering), and for a chunk `handover`.
    """

    encode: float
    plan: float
    join: float
    handover: float


def costs_of(runs: Sequence[Went], frames: int) -> Costs:
    """The medians of divided runs."""
    return Costs(
        encode=median([one.engines / frames for one in runs]),
        plan=median([one.plan / frames for one in runs]),
        join=median([one.join / frames for one in runs]),
        handover=median([one.handover for one in runs]),
    )


@dataclass(frozen=True, slots=True)
class Simulated:
    """A film on so many workers: seconds in all, how many chunks, and where the time beyond an even share goes."""

    workers: int
    chunks: int
    all: float
    losses: dict[str, float]


def simulate(costs: Costs, workers: int, *, seconds: int = LONG_S) -> Simulated:
    """The time of a film of so many seconds, divided by the planner, on equal workers of one core."""
    film = _long(seconds)
    wanted = with_split(plan(profile_from(PROFILE), film), film, cores=1, chunking=Chunking.AUTO, helpers=workers - 1)
    chunks = wanted.split.chunks or None
    frames = seconds * RATE
    if chunks is None or wanted.split.workers == 1:
        return Simulated(workers, len(chunks or ()), costs.encode * frames, {})
    loads = [0.0] * workers
    for chunk in sorted(chunks, key=lambda one: -one.frames):
        least = loads.index(min(loads))
        loads[least] += chunk.frames * costs.encode + costs.handover
    even = frames * costs.encode / workers
    handed = len(chunks) * costs.handover / workers
    losses = {
        "probing": frames * costs.plan,
        "hand-over": handed,
        "uneven shares": max(loads) - even - handed,
        "joining": frames * costs.join,
    }
    return Simulated(workers, len(chunks), even + sum(losses.values()), losses)


def _long(seconds: int) -> Probe:
    """What a probe says of a long film with a key frame every two seconds."""
    keys = tuple(Fraction(second) for second in range(0, seconds, GOP_S))
    video = VideoStream(
        index=0, codec="h264", width=1280, height=720, pix_fmt="yuv420p", frame_rate=Fraction(RATE), frames=seconds * RATE,
        end=Fraction(seconds), keyframes=keys, key_decoding=tuple(key - Fraction(1, 25) for key in keys),
        gops=(RATE * GOP_S,) * len(keys),
    )  # fmt: skip
    return Probe(formats=("mov", "mp4"), duration=Fraction(seconds), video=(video,))


# The report ------------------------------------------------------------------------------------------------------------


def _report(found: dict[int, list[Went]], quota: float, runs: int) -> str:
    alone = found[1]
    rows = []
    efficiency: dict[int, float] = {}
    for count, went in found.items():
        efficiency[count] = median([one.all / (count * many.all) for one, many in zip(alone, went, strict=True)])
        rows.append(
            [
                str(count),
                spread([one.all for one in went]),
                str(len(went[-1].chunks) or "whole"),
                f"{100 * efficiency[count]:.0f} %",
            ]
        )
    frames = FILM_S * RATE
    costs = costs_of(found[2], frames)
    simulated = [simulate(costs, count) for count in COUNTS]
    base = costs.encode * LONG_S * RATE
    curve = [
        [
            f"{one.workers:,}", str(one.chunks or "whole"), f"{one.all:,.0f}", f"{base / one.all:.1f}",
            f"{100 * base / one.all / one.workers:.0f} %",
            ", ".join(f"{name} {seconds:,.1f} s" for name, seconds in sorted(one.losses.items(), key=lambda pair: -pair[1])[:2]),
        ]
        for one in simulated
    ]  # fmt: skip
    parts = [
        f"## Scaling: {FILM_S} s of 720p, x264 medium, on workers of {quota:.2f} of a core each\n",
        f"{runs} rounds, every number of workers in turn; one master on SQLite; workers read the input where it lies.\n",
        table(["workers", "s, median (min to max)", "chunks", "efficiency"], rows),
        f"\nGoal: at least 95 % on two; found {100 * efficiency[2]:.0f} %.\n",
        f"From the runs with two: {1000 * costs.encode:.1f} ms of a worker to encode a frame, {1e6 * costs.plan:.0f} µs to probe it, "
        f"{1e6 * costs.join:.0f} µs to join, check and deliver it, {costs.handover:.2f} s to hand a chunk over. With these, a film of two "
        "hours by the planner's own division on equal workers (seconds of such a worker):\n",
        table(["workers", "chunks", "s", "times one", "efficiency", "where most of the rest goes"], curve),
    ]
    return "\n".join(parts) + "\n"
