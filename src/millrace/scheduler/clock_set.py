"""The store's clock may be set, by people or by NTP: leases and waits were measured by it, and must not end at once or never."""

from msgspec import Struct

from millrace.scheduler.farm import Farm
from millrace.telemetry.logs import logger

log = logger("scheduler")

TOLERANCE_S = 1.0
"""Two clocks drift apart by themselves, by much less than that between two looks."""


class Reading(Struct, frozen=True, kw_only=True):
    """The store's time, in seconds since 1970, and this master's monotonic clock before it was asked and after."""

    store_s: float
    asked_s: float
    answered_s: float


def set_by_s(before: Reading, now: Reading) -> float:
    """By how much the store's clock was set between two readings, at least; negative where it was set back, 0 where it may just run."""
    least = now.store_s - before.store_s - (now.answered_s - before.asked_s)
    most = now.store_s - before.store_s - (now.asked_s - before.answered_s)
    if least > TOLERANCE_S:
        return least
    return most if most < -TOLERANCE_S else 0.0


class StoreClock:
    """Compares the store's clock with one that nobody sets, and puts right what was measured by it."""

    def __init__(self, farm: Farm) -> None:
        """It is not read yet."""
        self._farm = farm
        self._last: Reading | None = None
        self._even_since_s = farm.clock.monotonic()

    @property
    def even_for_s(self) -> float:
        """For how long nodes that live could extend their leases by a clock that runs evenly, with this master there to hear them."""
        return self._farm.clock.monotonic() - self._even_since_s

    def begin(self) -> None:
        """Heartbeats are heard from now on."""
        self._last = None
        self._even_since_s = self._farm.clock.monotonic()

    async def follow(self) -> None:
        """Read it. What was missed because the store did not answer is seen the next time."""
        clock = self._farm.clock
        asked_s = clock.monotonic()
        store_s = (await self._farm.store.now()).timestamp()
        now = Reading(store_s=store_s, asked_s=asked_s, answered_s=clock.monotonic())
        by_s = 0.0 if self._last is None else set_by_s(self._last, now)
        if by_s < 0:
            await self._farm.store.clock_was_set_back(by_s=-by_s, ttl_s=self._farm.rules.lease_ttl_s)
        elif by_s > 0:  # every lease seems to be over; each node gets one whole term to beat
            self._even_since_s = clock.monotonic()
        if by_s:
            log.warning("master.clock_was_set", by_s=round(by_s, 3))
        self._last = now
