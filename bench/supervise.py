"""The supervisor beside supervisord and circus, and beside two floors, in one run."""

import contextlib
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from bench.measure import table
from bench.started import Births, NotWithinError, Program, attempt, ended, running, until
from bench.supervisors import FORGETFUL, PEERS, PROGRAMS, Prepare, installed, missing

CHILDREN = 100
IDLE_S = 30.0
LINES = 1_000_000
LINE_BYTES = 100
CRASHES_S = 40.0
"""For so long children are killed, one after another; those that take a second to come back give fewer figures."""
START_S = 60.0
"""From the start of a program to its last child, and from the start of one child to its first word."""
LOG_S = 180.0
END_S = 60.0
"""From SIGTERM to the end of everything."""
_QUIET = 0.1
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
HERE = Path(__file__).parent


@dataclass(slots=True)
class Found:
    """What was measured of one program; each list has a figure for each round. `forgetful`: it has to be told again to end."""

    forgetful: bool = False
    first_ms: list[float] = field(default_factory=list)
    up_ms: list[float] = field(default_factory=list)
    down_ms: list[float] = field(default_factory=list)
    crash_ms: list[float] = field(default_factory=list)
    pss_mb: list[float] = field(default_factory=list)
    idle_ms: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    lines_s: list[float] = field(default_factory=list)
    log_cpu_s: list[float] = field(default_factory=list)
    longest_ms: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    left_stop: list[int] = field(default_factory=list)
    left_kill: list[int] = field(default_factory=list)
    late: dict[str, str] = field(default_factory=dict)
    """The steps that did not come to their end in time, and why."""


def supervise(folder: Path, runs: int) -> str:
    """The section: every program in turn, `runs` times."""
    why = installed()
    left_out = {name: reason for name in PROGRAMS if (reason := missing(name) or (why if name in PEERS else ""))}
    for name, reason in left_out.items():
        print(f"  {name} IS NOT MEASURED: {reason}", flush=True)
    found = {name: Found(forgetful=name in FORGETFUL) for name in PROGRAMS if name not in left_out}
    for turn in range(runs):
        for at, (name, one) in enumerate(found.items()):
            place = folder / f"{turn}-{at}"
            place.mkdir()
            for number, (step, measure) in enumerate(STEPS):
                (inside := place / str(number)).mkdir()
                attempt(step, one.late, partial(measure, PROGRAMS[name], one, inside))
            print(f"  {name:42} {_ms(one.up_ms):>6} ms up{_lateness(one)}", flush=True)
    return _report(found, runs, left_out)


def _many(prepare: Prepare, found: Found, folder: Path) -> None:
    """100 children: up, idle, crashes, down."""
    births = Births(folder / "births")
    command = prepare(folder, CHILDREN, ["/bin/sh", "-c", f"echo $$ > {births.path}; exec sleep 100000"], None)
    times_s = [time.perf_counter()]
    with contextlib.closing(births), running(command, folder) as process:
        pids = list(map(int, births.take(CHILDREN, START_S, lambda: times_s.append(time.perf_counter()))))
        began_s, first_s = times_s
        found.first_ms.append(1000 * (first_s - began_s))
        found.up_ms.append(1000 * (time.perf_counter() - first_s))
        _idle(process.pid, set(pids), found)
        attempt("crash to restart", found.late, partial(_crashes, pids, births, found))
        began_s = time.perf_counter()
        _stop(process, found)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), END_S, 0.0005)
        found.down_ms.append(1000 * (time.perf_counter() - began_s))


def _stop(process: Program, found: Found) -> None:
    """SIGTERM, and wait for its end."""
    process.terminate()
    for _ in range(int(END_S) if found.forgetful else 0):
        with contextlib.suppress(NotWithinError):
            ended(process, 1.0)
            return
        process.terminate()
    ended(process, END_S)


def _own(pid: int, children: set[int]) -> list[psutil.Process]:
    """The program and the processes that it has for itself."""
    root = psutil.Process(pid)
    return [root, *(one for one in root.children(recursive=True) if one.pid not in children)]


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for one in processes:
        with contextlib.suppress(OSError):
            # Nanoseconds on the processors (proc_pid_schedstat); the times of /proc/PID/stat are counted in ticks of 10 ms.
            total += sum(
                int(path.read_text().split()[0]) / 1e9 for path in Path(f"/proc/{one.pid}/task").glob("*/schedstat")
            )
    return total


def _idle(pid: int, children: set[int], found: Found) -> None:
    time.sleep(2.0)  # until it is at rest
    own = _own(pid, children)
    busy, before_s, began_s = _busy_s(), _cpu_s(own), time.perf_counter()
    time.sleep(IDLE_S)
    used_s, wall_s = _cpu_s(own) - before_s, time.perf_counter() - began_s
    found.idle_ms.append(1000 * used_s)
    found.load.append(max(0.0, (_busy_s() - busy - used_s) / (wall_s * (os.cpu_count() or 1))))
    found.pss_mb.append(sum(one.memory_full_info().pss for one in own) / 1e6)


def _busy_s() -> float:
    """Seconds that all cores have worked, by everybody."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _crashes(pids: list[int], births: Births, found: Found) -> None:
    """Kill each child once; until when its successor is there."""
    ends_s = time.monotonic() + CRASHES_S
    for at, pid in enumerate(pids):
        if time.monotonic() > ends_s:
            break
        began_s = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        words = births.take(1, START_S)
        found.crash_ms.append(1000 * (time.perf_counter() - began_s))
        pids[at] = int(words[0])


def _log(prepare: Prepare, found: Found, folder: Path) -> None:
    """One child that writes a million lines into a file; None of ours is ever in its way longer than need be."""
    births, kept = Births(folder / "told"), folder / "kept"
    writer = [sys.executable, str(HERE / "writer.py"), str(LINES), str(births.path)]
    with contextlib.closing(births), running(prepare(folder, 1, writer, kept), folder) as process:
        until(lambda: kept.exists() and kept.stat().st_size > 0, START_S, 0.001)
        began_s = time.perf_counter()
        root = psutil.Process(process.pid)
        own = [root, *(one for one in root.children(recursive=True) if writer[1] not in one.cmdline())]
        before_s = _cpu_s(own)
        words = births.take(1, LOG_S)
        size, since_s = -1, time.perf_counter()

        def rests() -> bool:
            nonlocal size, since_s
            if kept.stat().st_size != size:
                size, since_s = kept.stat().st_size, time.perf_counter()
            return time.perf_counter() - since_s >= 0.5

        until(rests, LOG_S)
        found.lines_s.append(LINES / (since_s - began_s))
        found.log_cpu_s.append(_cpu_s(own) - before_s)
        found.longest_ms.append(float(words[0].split()[1]))
        _stop(process, found)
    with kept.open("rb") as lines:
        found.lost.append(LINES - sum(piece.count(b"x\n") for piece in iter(lambda: lines.read(1 << 20), b"")))
    kept.unlink()


def _left(number: signal.Signals, prepare: Prepare, found: Found, folder: Path) -> None:
    """How many of a child's descendants are there after the program has ended."""
    births = Births(folder / "births")
    mark = str(100_000 + os.getpid() + number)  # the length of their sleep tells them from all others
    script = folder / "child"
    script.write_text(
        f"#!/bin/sh\nsetsid sleep {mark} &\n(sleep {mark} &)\nsleep {mark} &\necho $$ > {births.path}\nexec sleep {mark}\n"
    )
    script.chmod(0o755)
    with contextlib.closing(births), running(prepare(folder, 1, [str(script)], None), folder) as process:
        births.take(1, START_S)
        until(lambda: len(_marked(mark)) >= 4, START_S)
        if number == signal.SIGTERM:
            _stop(process, found)
        else:
            process.send_signal(number)
            ended(process, END_S)
        ends_s = time.monotonic() + 5.0
        while (left := _marked(mark)) and time.monotonic() < ends_s:
            time.sleep(0.05)
        (found.left_stop if number == signal.SIGTERM else found.left_kill).append(len(left))


def _marked(mark: str) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", mark]]


STEPS: Sequence[tuple[str, Callable[[Prepare, Found, Path], None]]] = (
    ("100 children", _many),
    ("log", _log),
    ("stop", partial(_left, signal.SIGTERM)),
    ("kill -9", partial(_left, signal.SIGKILL)),
)


def _lateness(found: Found) -> str:
    return "".join(f"; {step}: {why}" for step, why in found.late.items())


def _report(found: dict[str, Found], runs: int, left_out: Mapping[str, str]) -> str:
    loads = [load for one in found.values() for load in one.load] or [0.0]
    late = [(name, step, why) for name, one in found.items() for step, why in one.late.items()]
    head = (
        "program",
        "first child ms",
        "100 up ms",
        "100 down ms",
        "crash to restart ms, median / p99",
        "idle CPU in 30 s, ms",
        "PSS MB",
    )
    rows = [
        (name, _ms(one.first_ms), _ms(one.up_ms), _ms(one.down_ms),
         f"{_cell(_median(one.crash_ms), '.1f')} / {_cell(_p99(one.crash_ms), '.1f')}",
         _cell(_median(one.idle_ms), ".1f"), _cell(_median(one.pss_mb), ".1f"))
        for name, one in found.items()
    ]  # fmt: skip
    logs = [
        (name, _cell(_median(one.lines_s), ",.0f"), _cell(1e6 * _median(one.log_cpu_s) / LINES, ".2f"), _ms(one.longest_ms),
         _cell(_most(one.lost), ",.0f"), _cell(_most(one.left_stop), ".0f"), _cell(_most(one.left_kill), ".0f"))
        for name, one in found.items()
    ]  # fmt: skip
    return "\n\n".join(
        (
            "### The supervisor beside others",
            f"{runs} round{'s' if runs > 1 else ''}, every program in turn; medians. {CHILDREN} children that sleep: from the start of "
            "the program to its first child, from there to the last, from SIGTERM to the end of everything, from `kill -9` of a "
            "child that had been stable to its successor. CPU and memory are those of the program without its children. Other "
            f"programs kept the cores {100 * _median(loads):.0f} % busy meanwhile ({100 * min(loads):.0f} to {100 * max(loads):.0f} %): "
            "where that is more than a few percent, times are upper bounds, and ratios and CPU are what counts.",
            table(head, rows),
            f"One child writes {LINES:,} lines of {LINE_BYTES} bytes, which are kept in a file. The floors copy bytes, and know "
            "nothing of lines. Left behind are descendants of a child (one with a session of its own, one orphan, one more, itself) "
            "5 s after the program was stopped, and after it was killed with `kill -9`.",
            table(("program", "lines/s", "CPU µs a line", "longest wait of the child, ms", "lines lost", "left after stop", "left after kill -9"), logs),
            table(("goal", "wanted", "found", "verdict"), _goals(found, max(loads))),
            *([table(("program", "step", "what became of it"), late)] if late else []),
            *(
                [f"{', '.join(name for name, one in found.items() if one.forgetful)} drops a SIGTERM that comes while it looks at its processes, and is told again every second."]
                if any(one.forgetful for one in found.values())
                else []
            ),
            *(f"{name} was not measured: {reason}." for name, reason in left_out.items()),
            "",
        )
    )  # fmt: skip


def _goals(found: dict[str, Found], load: float) -> list[tuple[str, str, str, str]]:
    on, off, bare = found["Millrace"], found["Millrace, API off"], found["asyncio floor"]
    times = _median(on.crash_ms) / _median(bare.crash_ms)
    goals = [
        ("100 up, ms", 250.0, _median(on.up_ms), 1),
        ("100 down, ms", 60.0, _median(on.down_ms), 1),
        ("crash to restart, median ms", 3.0, _median(on.crash_ms), 1),
        ("crash to restart, p99 ms", 10.0, _p99(on.crash_ms), 1),
        ("crash to restart, times the asyncio floor", 1.5, times, 1),
        ("idle CPU in 30 s, ms, API on", 5.0, _median(on.idle_ms), 1),
        ("MB with 100 children, API on", 45.0, _median(on.pss_mb), 1),
        ("MB with 100 children, API off", 20.0, _median(off.pss_mb), 1),
        ("lines/s kept", 300_000.0, _median(on.lines_s), -1),
        ("longest wait of the child, ms", 100.0, _median(on.longest_ms), 1),
        ("lines lost", 0.0, _most(on.lost), 1),
        ("left after stop", 0.0, _most(on.left_stop), 1),
        ("left after kill -9", 0.0, _most(on.left_kill), 1),
    ]
    rows = []
    for name, wanted, value, sign in goals:
        met = value * sign <= wanted * sign
        # Load by others only ever makes a time longer, so what is met under load is met.
        timed = "ms" in name or "lines/s" in name or "times" in name
        verdict = "met" if met else f"undecided: other load {load:.0%}" if timed and load > _QUIET else "missed"
        bound = "at most" if sign > 0 else "at least"
        shown = _cell(value, ",.0f" if value >= 100 else ".1f")
        rows.append((name, f"{bound} {wanted:,.10g}", shown, "not measured" if math.isnan(value) else verdict))
    return rows


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))] if values else float("nan")


def _most(values: Sequence[int]) -> float:
    return float(max(values)) if values else float("nan")


def _ms(values: Sequence[float]) -> str:
    return _cell(_median(values), ".0f")


def _cell(value: float, form: str) -> str:
    """A dash is what could not be measured."""
    return "-" if math.isnan(value) else format(value, form)
