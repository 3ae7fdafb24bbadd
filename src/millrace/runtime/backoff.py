"""How long to wait before the next try."""

import math
from collections.abc import Callable

from msgspec import Struct


class Backoff(Struct, frozen=True, kw_only=True):
    """Exponential back-off with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS 2015).

    The ceiling after failure n (the first is 1) is `base_s * factor**(n - 1)`, at most `cap_s`; the wait is drawn
    evenly from zero to the ceiling, so that callers which failed together do not return together.
    """

    base_s: float = 0.2
    cap_s: float = 30.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what could never grow or never end."""
        if not (0 < self.base_s <= self.cap_s < math.inf and 1 <= self.factor < math.inf):
            raise ValueError(f"cannot back off with {self}: needs 0 < base_s <= cap_s and factor >= 1, all finite")

    def ceiling_s(self, failures: int) -> float:
        """The longest wait after `failures` failures in a row; never overflows, however large the number."""
        if failures <= 0:
            return 0.0
        # Compared as logarithms: factor**n overflows a float at n = 1024.
        growth = (failures - 1) * math.log(self.factor)
        if growth >= math.log(self.cap_s / self.base_s):
            return self.cap_s
        return self.base_s * math.exp(growth)

    def wait_s(self, failures: int, draw: Callable[[], float]) -> float:
        """The wait in seconds; `draw` gives a number in [0, 1), such as `random.Random(seed).random`."""
        return self.ceiling_s(failures) * draw()
