"""Time whole commands in interleaved pairs, so that a machine whose speed drifts still gives honest ratios."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Prepare = Callable[[], Sequence[Sequence[str]]]
"""Gives the commands of one run, one after another; whatever it sets up before is not timed."""


@dataclass(frozen=True, slots=True)
class Run:
    """One timed run: seconds on the wall and of both kinds of CPU, with children."""

    wall_s: float
    cpu_s: float


def run(commands: Sequence[Sequence[str]], log: Path) -> Run:
    """Run commands one after another; every one must succeed."""
    wall, cpu = time.perf_counter(), 0.0
    for command in commands:
        with log.open("ab") as sink:
            pid = os.posix_spawn(
                command[0],
                list(command),
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, sink.fileno(), 1), (os.POSIX_SPAWN_DUP2, sink.fileno(), 2)],
            )
            _, status, usage = os.wait4(pid, 0)
        cpu += usage.ru_utime + usage.ru_stime
        if status != 0:
            raise SystemExit(f"cannot measure: {command[0]} ended with {status}; its output is in {log}")
    return Run(time.perf_counter() - wall, cpu)


def interleaved(ways: Mapping[str, Prepare], runs: int, log: Path) -> dict[str, list[Run]]:
    """Every way in turn, `runs` times, after one warm-up that does not count."""
    found: dict[str, list[Run]] = {name: [] for name in ways}
    for turn in range(runs + 1):
        for name, prepare in ways.items():
            measured = run(prepare(), log)
            if turn:
                found[name].append(measured)
    return found


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """Median with minimum and maximum, in seconds."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def ratios(one: Sequence[Run], other: Sequence[Run]) -> list[float]:
    """Wall time of `one` over `other`, pair by pair."""
    return [a.wall_s / b.wall_s for a, b in zip(one, other, strict=True)]


def cpu_ratios(one: Sequence[Run], other: Sequence[Run]) -> list[float]:
    """CPU time of `one` over `other`, pair by pair."""
    return [a.cpu_s / b.cpu_s for a, b in zip(one, other, strict=True)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join('---' for _ in head)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
