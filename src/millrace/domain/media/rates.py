"""Frame rates as exact fractions."""

from fractions import Fraction
from math import ceil

STANDARD_RATES = (
    Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(48),
    Fraction(50), Fraction(60000, 1001), Fraction(60), Fraction(100), Fraction(120000, 1001), Fraction(120),
)  # fmt: skip
"""Rates that cameras and screens really use (SMPTE ST 2036, ITU-R BT.709 and BT.2020)."""

FALLBACK_RATE = Fraction(25)
SAME = Fraction(2, 1000)
EVEN_ENOUGH = Fraction(3, 4)
"""50 under a cap of 30 becomes 25 (even motion); 25 under a cap of 24 becomes 24, not 12.5."""


def snapped(rate: Fraction, tolerance: Fraction = Fraction(1, 2000)) -> Fraction:
    """The standard rate within `tolerance` (relative) of `rate`, or the rate as a fraction with a small denominator."""
    best = min(STANDARD_RATES, key=lambda standard: abs(standard - rate))
    if abs(best - rate) <= best * tolerance:
        return best
    return rate.limit_denominator(1001)


def capped(rate: Fraction, cap: Fraction | None) -> Fraction:
    """The rate to make of `rate` under `cap`: every n-th frame where that stays near the cap, else the cap itself.

    A cap within 0.2 % of the rate counts as reached, because "30" is how people say 29.97 and the other way round.
    """
    if cap is None or rate <= cap * (1 + SAME):
        return rate
    ratio = rate / cap
    nearest = round(ratio)
    if abs(ratio - nearest) <= nearest * SAME:
        return rate / nearest
    every_nth = rate / ceil(ratio)
    return every_nth if every_nth >= cap * EVEN_ENOUGH else cap


def frames_until(seconds: Fraction, rate: Fraction) -> int:
    """How many frames of `rate` fill `seconds`, rounded half away from zero as FFmpeg's `fps` filter does."""
    return int(seconds * rate + Fraction(1, 2))
