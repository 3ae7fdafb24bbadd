"""How much is thrown: a little in every run, as much as one likes with `make fuzz [SECONDS=600] [SEED=1]`."""

import os
import time
from collections.abc import Iterator

SEED = int(os.environ.get("FUZZ_SEED", "1"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
"""For each of the fuzzers; 0 for the small fixed number of every run."""


def rounds(few: int) -> Iterator[int]:
    """Numbers from 0 on: so many, or as long as the time lasts."""
    if not SECONDS:
        yield from range(few)
        return
    until_s, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < until_s:
        yield number
        number += 1


def tell(what: str, **figures: object) -> None:
    """Print the figures of a long run."""
    if SECONDS:
        print(
            f"\n{what}, seed {SEED}: "
            + ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in figures.items())
        )
