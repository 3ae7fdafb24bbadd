"""How long the node's lease surely holds, on this machine's monotonic clock. Pure."""

from msgspec import Struct

MARGIN_PART = 0.2
LEAST_MARGIN_S = 0.2


class Lease(Struct, frozen=True, kw_only=True):
    """The terms of a master, as of the moment when the request that it answered was *sent*.

    The master counts from when it received the request, which is later; so whoever counts from the sending is through
    before the master is, however long the answer took. The margin is the time that stopping an engine may take, and
    covers clocks that run at slightly different rates.
    """

    sent_s: float
    ttl_s: float

    @property
    def margin_s(self) -> float:
        """Seconds before the end at which the engines must be stopped."""
        return min(max(LEAST_MARGIN_S, self.ttl_s * MARGIN_PART), self.ttl_s / 2)

    @property
    def stop_s(self) -> float:
        """The moment at which the engines must be stopped if nothing was heard."""
        return self.sent_s + self.ttl_s - self.margin_s

    def holds(self, now_s: float) -> bool:
        """Whether work may go on."""
        return now_s < self.stop_s

    def later(self, other: "Lease") -> "Lease":
        """The one of the two that was granted on the later request: answers may overtake each other."""
        return other if other.sent_s > self.sent_s else self
