"""What every handler works with."""

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct, field

import millrace
from millrace.api.log_lengths import Lengths
from millrace.api.log_writers import Writers
from millrace.blobs.values import Blobs
from millrace.domain.states import State
from millrace.edge.tally import Tally
from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import Offers


class LongReply(Protocol):
    """An answer that takes as long as it likes: a parked claim, a stream of events."""

    def end(self) -> None:
        """Finish it now."""
        ...


class Limits(Struct, frozen=True, kw_only=True):
    """Sizes in bytes beyond which a body is refused before it is read."""

    upload_bytes: int = 1 << 40
    piece_bytes: int = 1 << 30  # of an upload, in one request
    output_bytes: int = 1 << 40
    log_bytes: int = 4 << 20  # in one request
    health_s: float = 2.0  # how long the store may take to answer before it counts as gone


class Master(Struct, eq=False):
    """One master's hold on the farm, as its API sees it."""

    farm: Farm
    offers: Offers
    blobs: Blobs
    limits: Limits = field(default_factory=Limits)
    version: str = millrace.__version__
    tally: Tally = field(default_factory=Tally)
    description: Callable[[], bytes] = bytes
    stopping: bool = False
    counted: tuple[float, Mapping[State, int]] | None = None
    log_lengths: Lengths = field(default_factory=Lengths)
    log_writers: Writers = field(default_factory=Writers)
    _long: set[LongReply] = field(default_factory=set)

    def enter(self, reply: LongReply) -> None:
        """A long reply begins; one that begins while the master stops is ended at once."""
        self._long.add(reply)
        if self.stopping:
            reply.end()

    def leave(self, reply: LongReply) -> None:
        """It has ended."""
        self._long.discard(reply)

    def stop(self) -> None:
        """End every long reply, and be ready for no traffic from now on. May be called twice."""
        self.stopping = True
        for reply in tuple(self._long):
            reply.end()
