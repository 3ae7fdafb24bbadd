"""`python -m sim`: run seeds, print what does not hold and how to see it again. Ends with 1 where something did not hold."""

import argparse
import itertools
import re
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext

from sim.bugs import ALL, found_by, planted
from sim.draw import draw
from sim.find import find
from sim.history import Event
from sim.plan import Plan
from sim.shrink import shrunk
from sim.world import Verdict, simulate

EXCERPT = 25
"""Events that are shown before the violation."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sim", description="Run the farm under virtual time, with faults.")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds; 0 for no end, until Ctrl-C")
    parser.add_argument("--bug", choices=sorted(ALL), help="plant this bug first")
    parser.add_argument("--bugs", action="store_true", help="list the planted bugs, and the seed that finds each")
    parser.add_argument("--find", action="store_true", help="look for seeds that find the planted bugs, and keep them")
    parser.add_argument(
        "--shrink", action="store_true", help="drop faults, steps and jobs of a failing seed while it still fails"
    )
    parser.add_argument("--events", action="store_true", help="print the whole history")
    asked = parser.parse_args()
    if asked.bugs:
        for name, bug in ALL.items():
            print(f"{name:<34} breaks {' or '.join(bug.breaks):<18} found by seed {found_by().get(name)}")
        return 0
    if asked.find:
        return 0 if find([asked.bug] if asked.bug else ALL) else 1
    seeds: Iterable[int] = (
        itertools.count(asked.seed) if asked.runs == 0 else range(asked.seed, asked.seed + asked.runs)
    )
    with planted(ALL[asked.bug]) if asked.bug else nullcontext():
        return _run(seeds, asked)


def _run(seeds: Iterable[int], asked: argparse.Namespace) -> int:
    began_s, cpu_s = time.monotonic(), time.process_time()
    done = failed = 0
    simulated_s = 0.0
    seed = asked.seed
    try:
        for seed in seeds:
            verdict = simulate(draw(seed))
            done += 1
            simulated_s += verdict.lasted_s
            if asked.events:
                print(*verdict.history.events, sep="\n")
            if verdict.violations:
                failed += 1
                _tell(verdict, asked)
            elif asked.runs == 1:
                print(f"seed {seed}: everything holds; history {verdict.digest}, {len(verdict.history.events)} events")
            elif done % 100 == 0:
                print(f"{done} seeds, {failed} failed; at seed {seed}", flush=True)
    except KeyboardInterrupt:
        print(f"\nstopped at seed {seed}")
    cpu_s = time.process_time() - cpu_s
    print(
        f"{done} seeds, {failed} failed; {simulated_s / 3600:.1f} simulated hours in {time.monotonic() - began_s:.0f} s "
        f"({60 * done / max(cpu_s, 1e-9):.0f} seeds for each minute of CPU)"
    )
    return 1 if failed else 0


def _tell(verdict: Verdict, asked: argparse.Namespace) -> None:
    plan, events = verdict.plan, verdict.history.events
    first = verdict.violations[0]
    print(f"\nseed {plan.seed} breaks {first.invariant} at {first.at_s:.3f} s: {first.text}")
    for other in verdict.violations[1:4]:
        print(f"  and {other.invariant}: {other.text}")
    command = f"python -m sim --seed {plan.seed}" + (f" --bug {asked.bug}" if asked.bug else "")
    print(f"again, with every event: {command} --events")
    if asked.shrink:
        verdict = shrunk(plan)
        first, events = verdict.violations[0], verdict.history.events
        print(_shape(verdict.plan))
    about = _names(first.text)
    told = [event for event in events[: first.events] if _matters(event, about)]
    print("what came before (faults, and what is about the same):")
    print(*told[-EXCERPT:], sep="\n")


def _names(text: str) -> set[str]:
    """The tasks, nodes and machines that a sentence speaks of."""
    return {word for word in re.split(r"[ ,()\[\]']+", text) if len(word) > 30 or word.startswith(("worker", "master"))}


def _matters(event: Event, about: set[str]) -> bool:
    """Whether an event belongs into an excerpt: faults, and what happened to those names; of requests what was refused."""
    if event.kind.startswith("fault") or event.kind == "healed":
        return True
    if event.kind in ("arrives", "answers") or (event.kind == "got" and event.fields[4] == 200):
        return False
    return any(name in str(event) for name in about)


def _shape(plan: Plan) -> str:
    faults = "".join(f"\n    {fault}" for fault in plan.faults)
    steps = "".join(f"\n    {step.at_s:6.1f} s: {step.verb} {step.index}" for step in plan.steps)
    return (
        f"as small as it gets: {plan.masters} masters, {len(plan.workers)} workers, {len(plan.jobs)} jobs"
        f"\n  faults:{faults or ' none'}\n  steps:{steps or ' none'}"
    )


if __name__ == "__main__":
    sys.exit(main())
