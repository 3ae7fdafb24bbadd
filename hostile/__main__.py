"""`python -m hostile bombs|corpus|fuzz`: what the tests take a slice of, in full. Ends with 1 where something did not hold."""

import argparse
import asyncio
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hostile.bombs import BOMBS, GRACE_S, Growing
from hostile.corpus import ATTACKS, Attack
from hostile.fuzz import fuzz
from hostile.stage import stage

LIMIT_S = 25.0
"""Of those that name none."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hostile", description="Films that were made to do harm, through a real worker."
    )
    parser.add_argument("what", choices=("bombs", "corpus", "fuzz"))
    parser.add_argument("--seed", type=int, default=0, help="the first seed of the fuzz")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the fuzz goes on")
    asked = parser.parse_args()
    if asked.what == "fuzz":
        tally = fuzz(asked.seed, seconds=asked.seconds)
        print(*tally.faults, sep="\n")
        print(
            f"{tally.films} films from seed {asked.seed}: {tally.read} described, {tally.decoded} of those decoded, {tally.refused} "
            f"refused with a reason; the longest took {tally.longest_s:.1f} s; {len(tally.faults)} faults"
        )
        return 1 if tally.faults else 0
    with tempfile.TemporaryDirectory(prefix="millrace-hostile-") as folder:
        return asyncio.run(_show(Path(folder), BOMBS if asked.what == "bombs" else ATTACKS))


async def _show(folder: Path, chosen: Sequence[Attack]) -> int:
    faults = 0
    print(f"{'file':<40}{'bytes':>12}  {'took':>6}  {'ended as':<11}reason")
    async with stage(folder, timeout_s=LIMIT_S) as set_up:
        for one in chosen:
            ended, wrong = await set_up.attack(one)
            if ended.took_s > (one.timeout_s or LIMIT_S) + GRACE_S:
                wrong.append(f"{one.name}: took {ended.took_s:.1f} s")
            faults += len(wrong)
            print(
                f"{one.name:<40}{set_up.size(one):>12,}  {ended.took_s:5.1f}s  {ended.ends:<11}{ended.says}",
                *wrong,
                sep="\n  ! ",
            )
    faults += await _growing(folder / "growing")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
    print(
        f"{len(chosen) + 1} files, {faults} faults; the worker works on, and had at most {most} MB, its master and these files with it"
    )
    return 1 if faults else 0


async def _growing(folder: Path) -> int:
    """One that no file of the corpus can be."""
    limit_s = 5.0
    async with stage(folder, describe_s=limit_s) as set_up:
        path = set_up.media / "growing.wav"
        with Growing(path):
            ended = await set_up.run(str(path))
    print(f"{'a film that grows':<40}{'':>12}  {ended.took_s:5.1f}s  {ended.ends:<11}{ended.says}")
    return int(ended.ends != "timeout" or ended.took_s > limit_s + 10)


if __name__ == "__main__":
    sys.exit(main())
