"""`python -m chaos`: run the farm as real processes, with real faults. Ends with 1 where something did not hold."""

import argparse
import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from chaos import grounds
from chaos.bugs import ALL, Planted
from chaos.plan import draw, possible
from chaos.processes import ROOT
from chaos.report import document, lines
from chaos.run import run

BUGS_PATIENCE_S = 45.0
"""Few of them let every job end."""
EXCERPT = 40
"""Events that are shown before the first violation."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description="Run the farm as real processes, with real faults."
    )
    parser.add_argument("--seed", type=int, default=0, help="what to draw the plan from")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long faults come; then all is healed")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument(
        "--faults",
        default="",
        metavar="KIND[,KIND...]",
        help="only these, such as crash or crash@master; none for none",
    )
    parser.add_argument("--report", type=Path, help="where to write the report as JSON")
    parser.add_argument("--keep", type=Path, help="keep the logs of the programs, and the history, in this new folder")
    parser.add_argument("--bug", choices=sorted(ALL), help="plant this bug, with the plan that finds it")
    parser.add_argument("--bugs", action="store_true", help="plant every bug in turn: each has to be found")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all that was started ends with it, as with Ctrl-C
    if asked.bugs:
        return _every_bug()
    asked.faults = tuple(word for word in asked.faults.split(",") if word)
    there = {word for kind, target in possible("postgres", 1, 1) for word in (kind, f"{kind}@{target.rstrip('0')}")}
    if unknown := set(asked.faults) - there - {"none"}:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(sorted(there))}")
    if asked.keep is not None and asked.keep.exists():
        parser.error(f"{asked.keep} is there already; name a new folder")
    report = _run(asked, ALL[asked.bug] if asked.bug else None)
    print(*lines(report), sep="\n")
    return 1 if report["violations"] else 0


def _every_bug() -> int:
    """Each in a process of its own, as a run goes into namespaces."""
    missed = []
    for name, planted in ALL.items():
        began_s = time.monotonic()
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            command = [sys.executable, "-m", "chaos", "--bug", name, "--report", file.name]
            with subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            ) as child:
                try:
                    _, said = child.communicate()
                except KeyboardInterrupt:
                    child.terminate()  # and wait, so that it takes its farm down
                    raise
            text = Path(file.name).read_text()
        found = [one.split(" ")[0] for one in json.loads(text)["violations"]] if text else []
        caught = sorted({one for one in found if one in planted.breaks})
        missed += [] if caught else [name]
        verdict = (
            f"found: {', '.join(caught)}" if caught else f"NOT FOUND ({', '.join(sorted(set(found))) or said[-500:]})"
        )
        print(f"{name:<34} {verdict} ({time.monotonic() - began_s:.0f} s)", flush=True)
    print(f"{len(ALL) - len(missed)} of {len(ALL)} planted bugs found")
    return 1 if missed else 0


def _run(asked: argparse.Namespace, planted: Planted | None) -> dict[str, Any]:
    if planted is not None:
        plan = draw(planted.seed, store=planted.store, seconds=planted.seconds, kinds=planted.faults, runs=planted.runs)
    else:
        plan = draw(asked.seed, store=asked.store, seconds=asked.seconds, kinds=asked.faults)
    there = grounds.enter()
    if there.reason:
        print(f"SKIPPED: no island and no full disk, as there are no namespaces ({there.reason})", file=sys.stderr)
    folder = Path(tempfile.mkdtemp(prefix="millrace-chaos-"))
    folder.chmod(0o755)  # the database runs as somebody else
    more: dict[str, Any] = (
        {"settings": planted.settings, "patience_s": BUGS_PATIENCE_S} if planted else {"settings": {}}
    )
    try:
        done = asyncio.run(run(plan, folder, there, marker=secrets.token_hex(8), bug=asked.bug, **more))
        report = document(done, commit=_commit(), load=os.getloadavg()[1])
        events = list(map(str, done.history.events))
        if done.violations:
            before = events[: done.violations[0].events][-EXCERPT:]
            print("what came before the first violation:", *before, sep="\n", file=sys.stderr)
        if asked.keep is not None:
            asked.keep.mkdir(parents=True)
            (asked.keep / "history").write_text("\n".join(events) + "\n")
    finally:
        if asked.keep is not None:
            asked.keep.mkdir(parents=True, exist_ok=True)
            for log in folder.glob("*.log"):
                shutil.copy(log, asked.keep)
        shutil.rmtree(folder, ignore_errors=True)
    if asked.report is not None:
        asked.report.write_text(json.dumps(report, indent=1) + "\n")
    return report


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=9"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
