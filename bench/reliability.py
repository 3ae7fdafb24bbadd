"""The figures of docs/reliability.md that one machine can make in a quarter of an hour, as the tables that stand there.

    make figures SECONDS=60 ROUNDS=10

Ends with 1 where an invariant was broken. How it goes on is told on stderr, the tables on stdout.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

from bench import failover
from chaos.processes import ROOT
from chaos.report import quantile

Report = Mapping[str, Any]


class Run(Struct, frozen=True, kw_only=True):
    """A run of chaos. Some are of one kind of fault alone: what is measured there is that fault, and nothing else."""

    seed: int
    store: str
    faults: str = ""

    def __str__(self) -> str:
        store = {"postgres": "PostgreSQL", "sqlite": "SQLite"}[self.store]
        return f"{self.seed}, {store}, {self.faults.replace(',', ', ') or 'all kinds'}"


RUNS = (
    Run(seed=41, store="postgres"),
    Run(seed=42, store="postgres"),
    Run(seed=43, store="postgres"),
    Run(seed=44, store="postgres", faults="crash@worker"),
    Run(seed=46, store="postgres", faults="gone@worker"),
    Run(seed=47, store="postgres", faults="crash@leader,crash@master"),
    Run(seed=45, store="sqlite"),
)
BROKEN = ("lost", "doubled", "stale_writes_accepted", "partial_outputs_visible", "orphans")
GOALS: Mapping[str, Callable[[float], float]] = {
    "worker killed and kept, until its task ran again": lambda _: 2.0,
    "host lost, until its task ran again": lambda ttl_s: ttl_s + 1.0,
    "leader gone, until another led": lambda _: 5.0,
    "master killed, until a call to it was answered by another": lambda _: 1.0,
    "database back, until the farm goes on": lambda _: 5.0,
}
"""Seconds, by the lease of the runs."""


def chaos(one: Run, seconds: float) -> Report:
    """What one run reports. It goes into namespaces, so it has a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "chaos", "--seed", one.seed, "--store", one.store, "--seconds", seconds,
                   "--faults", one.faults, "--report", file.name]  # fmt: skip
        done = subprocess.run([*map(str, command)], cwd=ROOT, stdout=sys.stderr, check=False)
        text = Path(file.name).read_text()
    if not text:
        raise SystemExit(f"cannot measure: the run of seed {one.seed} ended with {done.returncode} and no report")
    found: Report = json.loads(text)
    return found


def of_runs(runs: Mapping[Run, Report]) -> Iterator[str]:
    """One line for each run."""
    yield "| seed, store, faults | accepted | completed | faults | ghosts | load | lost, doubled, stale writes accepted, partial outputs, orphans |"
    yield "|---|---|---|---|---|---|---|"
    for one, report in runs.items():
        counts = report["accepted"], report["completed"], sum(report["faults"].values()), report["stale_writes_sent"]
        broken = sum(report[name] for name in BROKEN) or len(report["violations"])
        yield f"| {one} | {' | '.join(map(str, counts))} | {report['load']} | {broken} |"


def of_times(reports: Sequence[Report]) -> Iterator[str]:
    """One line for each goal, over all runs, and for what has none."""
    yield "| from | until | median | p99 | worst | goal | |"
    yield "|---|---|---|---|---|---|---|"
    ttl_s = reports[0]["lease_ttl_s"]
    for name in reports[0]["recovery_s"]:
        times_s = sorted(s for one in reports for s in one["recovery_s"][name].get("all", ()))
        goal_s = GOALS[name](ttl_s) if name in GOALS else None
        what = name.replace(", until ", " | ")
        if not times_s:
            yield f"| {what} | - | - | none seen | {'' if goal_s is None else f'{goal_s:g}'} | |"
            continue
        p99_s = quantile(times_s, 0.99)
        verdict = "" if goal_s is None else "met" if p99_s <= goal_s else "missed"
        figures = f"{median(times_s):.2f} | {p99_s:.2f} | {times_s[-1]:.2f} of {len(times_s)}"
        yield f"| {what} | {figures} | {'' if goal_s is None else f'{goal_s:g}'} | {verdict} |"


def of_posts(reports: Sequence[Report]) -> str:
    """How long people waited for a job to be accepted, with all repetitions and fail-overs."""
    medians = sorted(one["post_s"]["p50"] for one in reports)
    worst = sorted(one["post_s"]["worst"] for one in reports)
    return f"`POST /v1/jobs` took {medians[0]} to {medians[-1]} s (median of each run); the worst of each {worst[0]} to {worst[-1]} s."


def steps() -> tuple[int, str]:
    """`python -m power --steps`: its exit code and its lines."""
    done = subprocess.run(
        [sys.executable, "-m", "power", "--steps"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long faults come in each run of chaos")
    parser.add_argument("--rounds", type=int, default=10, help="of the measures of fail-over")
    asked = parser.parse_args()
    runs = {one: chaos(one, asked.seconds) for one in RUNS}
    reports = list(runs.values())
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, commit {reports[0]['commit']}, {os.cpu_count()} cores, leases of {reports[0]['lease_ttl_s']:g} s, "
        f"{asked.seconds:g} s of faults\n"
    )
    print(*of_runs(runs), "", *of_times(reports), "", of_posts(reports), "", sep="\n", flush=True)
    print(*failover.table(failover.measure(asked.rounds)), "", sep="\n", flush=True)
    code, said = steps()
    print(said)
    for one, report in runs.items():
        print(*(f"seed {one.seed}: VIOLATION of {text}" for text in report["violations"]), sep="\n", end="")
    return 1 if code or any(one["violations"] for one in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
