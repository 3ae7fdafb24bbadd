"""Look for the first seed that finds each planted bug, and keep it beside them."""

import json
from collections.abc import Iterable

from sim.bugs import ALL, FOUND_BY, WITHIN, Bug, found_by, planted
from sim.draw import draw
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


def seed_for(bug: Bug) -> int | None:
    """A seed that finds the bug: the one that is kept, else the first below `WITHIN`; None where there is none.

    A change of the product may shift what a seed leads to, so the kept one may miss.
    """
    kept = found_by().get(bug.name, 0)
    return next((seed for seed in (kept, *range(WITHIN)) if finds(bug, seed)), None)


def find(names: Iterable[str]) -> bool:
    """Whether each is found; the seeds that find them are kept."""
    well = True
    for name in names:
        seed = seed_for(ALL[name])
        print(f"{name}: found by seed {seed}" if seed is not None else f"{name}: NOT found below {WITHIN}", flush=True)
        if seed is None:
            well = False
        else:
            seeds = {**found_by(), name: seed}
            FOUND_BY.write_text(json.dumps({one: seeds[one] for one in ALL if one in seeds}, indent=1) + "\n")
    return well
