"""From the times of packets to a frame rate: constant and exact, or variable."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from msgspec import Struct

from millrace.domain.media.rates import STANDARD_RATES, snapped

SLOT = Fraction(2, 5)
"""A frame within 2/5 of a frame from its place on the grid lands on its own place when FFmpeg's `fps` rounds it."""
NEAR = Fraction(1, 100)


class Cadence(Struct, frozen=True, kw_only=True):
    """`rate` is exact when constant and the average else; `peak` keeps nearly every frame of a variable stream."""

    rate: Fraction | None
    peak: Fraction | None
    is_vfr: bool


def cadence(times: Sequence[int], time_base: Fraction, hint: Fraction | None) -> Cadence:
    """Judge presentation times (ticks of `time_base`, any order); `hint` is the rate that the file declares."""
    ordered = sorted(times)
    if len(ordered) < 2 or ordered[-1] == ordered[0]:
        return Cadence(rate=hint, peak=hint, is_vfr=False)
    span = (ordered[-1] - ordered[0]) * time_base
    average = (len(ordered) - 1) / span
    near = [rate for rate in STANDARD_RATES if abs(rate - average) <= average * NEAR]
    candidates = [*near, snapped(average)] if hint is None else [hint, *near, snapped(average)]
    candidates = list(dict.fromkeys(candidates))  # most are the same, and each costs a look at every frame
    fits = sorted((_error(ordered, time_base, rate), order) for order, rate in enumerate(candidates))
    error, best = fits[0]
    if error <= SLOT:
        return Cadence(rate=candidates[best], peak=candidates[best], is_vfr=False)
    exact = average.limit_denominator(100_000)
    if _error(ordered, time_base, exact) <= SLOT:
        return Cadence(rate=exact, peak=exact, is_vfr=False)
    gaps = sorted(later - earlier for earlier, later in pairwise(ordered) if later > earlier)
    short = gaps[len(gaps) // 20] * time_base
    return Cadence(rate=average, peak=snapped(1 / short, NEAR), is_vfr=True)


def _error(ordered: Sequence[int], time_base: Fraction, rate: Fraction) -> Fraction:
    """The largest distance of a frame from its place, in frames. Whole numbers keep a long film fast."""
    top, bottom = (time_base * rate).numerator, (time_base * rate).denominator
    first = ordered[0]
    worst = max(abs((time - first) * top - number * bottom) for number, time in enumerate(ordered))
    return Fraction(worst, bottom)
