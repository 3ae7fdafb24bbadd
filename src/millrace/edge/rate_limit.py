"""How often somebody may ask: the generic cell rate algorithm (GCRA, ITU-T I.371), one number for each caller."""

import math
from collections.abc import Callable

from msgspec import Struct

from millrace.edge.access import Rate
from millrace.edge.refusal import RefusalError

MAX_CALLERS = 10_000
_SLACK = 0.01


class Share(Struct, frozen=True, kw_only=True):
    """What is left: so many requests at once, all of them again in `reset_s`; `wait_s` until the next, 0 where it is allowed."""

    left: int
    reset_s: float
    wait_s: float = 0.0


def spend(rate: Rate, arrival_s: float, now_s: float, cost: int = 1) -> tuple[float, Share]:
    """The next theoretical arrival time, and what is left. `arrival_s` is the one before; one that is over counts as now."""
    interval_s = 1.0 / rate.per_s
    room_s = rate.burst * interval_s
    before = max(arrival_s, now_s)
    after = before + cost * interval_s
    # Sums of floating-point numbers must not cost the last one of a burst.
    if (wait_s := after - room_s - now_s) > _SLACK * interval_s:
        return before, Share(left=0, reset_s=before - now_s, wait_s=wait_s)
    left = math.floor((now_s + room_s - after) / interval_s + _SLACK)
    return after, Share(left=left, reset_s=after - now_s)


class RateLimiter:
    """The arrival times of callers. One who has nothing outstanding is not remembered."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic` tells seconds."""
        self._monotonic = monotonic
        self._arrivals: dict[str, float] = {}
        self.refused: dict[str, int] = {}

    def passes(self, rate: Rate, caller: str) -> bool:
        """Count one request of a caller who is not told what is left; False, and nothing is counted, where it is one too many.

        As :func:`spend`, for a fifth of the time: for what comes thousands of times a second.
        """
        now_s = self._monotonic()
        arrival_s = self._arrivals.get(caller)
        if arrival_s is None and len(self._arrivals) >= MAX_CALLERS:
            self._forget(now_s)
        interval_s = 1.0 / rate.per_s
        after_s = (now_s if arrival_s is None or arrival_s < now_s else arrival_s) + interval_s
        if after_s - now_s > (rate.burst + _SLACK) * interval_s:
            return False
        self._arrivals[caller] = after_s
        return True

    def spend(self, rate: Rate, caller: str) -> Share:
        """Count one request of a caller."""
        now_s = self._monotonic()
        if len(self._arrivals) >= MAX_CALLERS:
            self._forget(now_s)
        arrival_s, share = spend(rate, self._arrivals.pop(caller, 0.0), now_s)
        self._arrivals[caller] = arrival_s  # at the end: in the order in which they last came
        return share

    def count(self, name: str) -> None:
        """A request was refused under the rate of this name."""
        self.refused[name] = self.refused.get(name, 0) + 1

    def _forget(self, now_s: float) -> None:
        self._arrivals = {caller: at_s for caller, at_s in self._arrivals.items() if at_s > now_s}
        # More strangers at once than that are a flood from many addresses; who came longest ago starts afresh.
        while len(self._arrivals) >= MAX_CALLERS:
            del self._arrivals[next(iter(self._arrivals))]


def headers(name: str, rate: Rate, share: Share) -> tuple[tuple[bytes, bytes], ...]:
    """What a caller is told of it (draft-ietf-httpapi-ratelimit-headers-10)."""
    window_s = math.ceil(rate.burst / rate.per_s)
    return (
        (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (name.encode(), rate.burst, window_s)),
        (b"ratelimit", b'"%b";r=%d;t=%d' % (name.encode(), share.left, math.ceil(share.reset_s))),
    )


def exhausted(share: Share) -> RefusalError:
    """The refusal for whoever asked too often."""
    wait_s = max(1, math.ceil(share.wait_s))
    return RefusalError(
        429,
        "too-many-requests",
        f"cannot answer so many requests: try again in {wait_s} s",
        headers={"retry-after": str(wait_s)},
    )
