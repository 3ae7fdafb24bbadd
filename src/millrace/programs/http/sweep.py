"""How long a server waits for its clients, and the one look a second by which it notices who took too long.

A client that sends a request bit by bit, or stops in the middle of one, costs it nothing and us a connection (slowloris).
A timer for each request would cost the hot path two system structures a request; instead each connection notes since when
it waits, and once a second all of them are looked at.
"""

from collections.abc import Collection
from typing import Protocol

REQUEST_S = 8.0
"""Seconds in which a head that was begun must be whole, a new connection must bring one, a TLS handshake must be done, and
a body that is read as a whole must have come. With the look once a second, whoever is slow is gone after ten."""
PROGRESS_S = 30.0
"""Seconds in which something of a file must arrive; the whole may take as long as it likes."""
IDLE_S = 75.0
"""Seconds between two requests on one connection. Longer than the 60 s of the usual load balancers, so that they close
first: a server that closes at the moment at which a balancer sends loses that request."""
READER_S = 8.0
KNOWN_READER_S = 60.0
READER_BYTES = 8 << 10
"""Of what waits for it, a client must take so many bytes in so many seconds: a stranger as in `REQUEST_S`, and as long as nginx gives
whoever has shown a key, who may be a person reading a log page by page. What the kernels on the way hold counts as taken once the
client's own has acknowledged it, which a slow reader's does in steps, of a sixteenth of its buffer at the least (6 MB at the most on
Linux), and asyncio's TLS in steps of 192 KiB: whoever reads 64 KiB a second is never cut."""

FREE_BYTES = 1 << 20
SLOWEST_BYTES_S = 128 << 10
"""A report with tens of thousands of outputs is long: beyond `FREE_BYTES` a whole body gets a second for each of these."""

INTERVAL_S = 1.0


class Watched(Protocol):
    """A connection."""

    def look(self, now_s: float) -> None:
        """Close it if its client took too long."""
        ...


class Sweep:
    """The server's time, and the look at its connections.

    `now_s` only moves with `tick`, so that reading it costs a request nothing. Time in which this process did not run
    (stopped, or kept from running) is not held against anybody.
    """

    def __init__(self, connections: Collection[Watched]) -> None:
        """`connections` are those that are open at each tick."""
        self.now_s = 0.0
        self._connections = connections
        self._last_s: float | None = None

    def tick(self, monotonic_s: float) -> None:
        """Let time go on, and look at every connection."""
        if self._last_s is not None:
            self.now_s += min(monotonic_s - self._last_s, 2 * INTERVAL_S)
        self._last_s = monotonic_s
        for connection in tuple(self._connections):
            connection.look(self.now_s)


def body_limit_s(size: int) -> float:
    """Seconds that a body read as a whole may take, of which `size` bytes have come. Pure."""
    return REQUEST_S + max(size - FREE_BYTES, 0) / SLOWEST_BYTES_S
