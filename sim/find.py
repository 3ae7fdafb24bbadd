"""Look for the first seed that finds each planted bug, and keep it beside them."""

import json
from collections.abc import Iterable

from sim.bugs import ALL, FOUND_BY, WITHIN, Bug, found_by, planted
from sim.plan import draw
from sim.world import simulate


def finds(bug: Bug, seed: int) -> str:
    """The invariant by which a seed finds the bug; empty where it does not, or takes it for another one."""
    with planted(bug):
        verdict = simulate(draw(seed))
    broken = verdict.violations[0].invariant if verdict.violations else ""
    if broken and broken not in bug.breaks:
        print(
            f"    {bug.name} with seed {seed} breaks {broken} instead: {verdict.violations[0].text[:160]}", flush=True
        )
    return broken if broken in bug.breaks else ""


def find(names: Iterable[str], first: int = 0) -> bool:
    """Whether each is found; what is known to be found is not looked for again."""
    well = True
    for name in names:
        known = found_by().get(name)
        if known is not None and finds(ALL[name], known):
            print(f"{name}: still found by seed {known}", flush=True)
            continue
        for seed in range(first, WITHIN):
            if broken := finds(ALL[name], seed):
                print(f"{name}: found by seed {seed} ({broken})", flush=True)
                seeds = {**found_by(), name: seed}
                FOUND_BY.write_text(json.dumps({one: seeds[one] for one in ALL if one in seeds}, indent=1) + "\n")
                break
        else:
            print(f"{name}: NOT found by any seed below {WITHIN}", flush=True)
            well = False
    return well
