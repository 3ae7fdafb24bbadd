"""What every handler works with."""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

import millrace
from millrace.api.log_lengths import Lengths
from millrace.api.log_writers import Writers
from millrace.api.node_owners import Owners
from millrace.blobs.values import Blobs
from millrace.domain.states import State
from millrace.edge.keys import Keys
from millrace.edge.known_keys import Mark
from millrace.edge.tally import Tally
from millrace.outbound.guard import Guard
from millrace.scheduler.farm import Farm
from millrace.scheduler.journal import Journal
from millrace.scheduler.leadership import Leadership
from millrace.scheduler.offers import Offers
from millrace.scheduler.tenancy import within


class LongReply(Protocol):
    """An answer that takes as long as it likes: a parked claim, a stream of events."""

    def end(self) -> None:
        """Finish it now."""
        ...


class LongReplies:
    """Those that are under way, each with the mark of the key that asked (empty: one that cannot be revoked)."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self.stopping = False
        self._open: dict[LongReply, Mark] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def enter(self, reply: LongReply, mark: Mark) -> None:
        """One begins; one that begins while the master stops is ended at once."""
        self._open[reply] = mark
        if self.stopping:
            reply.end()

    def leave(self, reply: LongReply) -> None:
        """It has ended."""
        self._open.pop(reply, None)

    @property
    def marks(self) -> frozenset[Mark]:
        """Those of the stored keys that they were asked with."""
        return frozenset(self._open.values()) - {""}

    def end_those_of(self, marks: frozenset[Mark]) -> None:
        """End those that were asked with these keys."""
        for reply in [one for one, mark in self._open.items() if mark in marks]:
            reply.end()

    def stop(self) -> None:
        """End every one, and those to come. May be called twice."""
        self.stopping = True
        for reply in tuple(self._open):
            reply.end()


class Limits(Struct, frozen=True, kw_only=True):
    """Sizes in bytes beyond which a body is refused before it is read."""

    upload_bytes: int = 1 << 40
    piece_bytes: int = 1 << 30  # of an upload, in one request
    output_bytes: int = 1 << 40
    log_bytes: int = 4 << 20  # in one request
    health_s: float = 2.0  # how long the store may take to answer before it counts as gone


class Authority(Protocol):
    """Signs for machines that join."""

    @property
    def certificate(self) -> bytes:
        """Its own certificate in PEM."""
        ...

    @property
    def vouches(self) -> bool:
        """Whether what the masters show is signed by it, and was not given to them."""
        ...

    def sign(self, request: bytes, key_id: str) -> tuple[bytes, datetime]:
        """A certificate in PEM for the public key of a request to sign, which stands for an API key; and when it ends.

        Raises:
            ValueError: the request is of no use.
        """
        ...


class Served(Protocol):
    """The certificate that a server shows: when it ends, and how often another could not be taken in its place."""

    ends: datetime
    failures: int


class WorkerAuth(StrEnum):
    """What a worker must show."""

    ANY = "any"  # a key, or a certificate that stands for one
    MTLS = "mtls"  # a certificate


class Master(Struct, eq=False):
    """One master's hold on the farm, as its API sees it.

    `authority` signs for machines that join; None where workers show keys alone. `shows` is the certificate of this
    server; None for plain HTTP.
    """

    farm: Farm
    offers: Offers
    blobs: Blobs
    keys: Keys
    limits: Limits = field(default_factory=Limits)
    guard: Guard = field(default_factory=Guard)  # where webhooks may go
    version: str = millrace.__version__
    tally: Tally = field(default_factory=Tally)
    description: Callable[[], bytes] = bytes
    counted: tuple[float, Mapping[State, int]] | None = None
    log_lengths: Lengths = field(default_factory=Lengths)
    log_writers: Writers = field(default_factory=Writers)
    owners: Owners = field(default_factory=Owners)
    long: LongReplies = field(default_factory=LongReplies)
    journal: Journal | None = None
    leadership: Leadership | None = None
    limited: Mapping[str, int] = field(default_factory=dict)  # requests refused, by the name of the rate
    tenant: str = ""  # whose view of the farm this is; empty: everybody's
    authority: Authority | None = None
    worker_auth: WorkerAuth = WorkerAuth.ANY
    shows: Served | None = None
    keeps_pieces: bool = True  # finished ones, for later jobs

    def within(self, tenant: str) -> "Master":
        """The same master as one tenant sees it."""
        return replace(self, farm=within(self.farm, tenant), tenant=tenant)

    async def heed_keys(self) -> None:
        """End the long replies to keys that open nothing any more."""
        if marks := self.long.marks:
            self.long.end_those_of(await self.keys.ended(marks))

    async def forget_keys(self) -> None:
        """One of them was changed: know none from before, and end what waits for it."""
        self.keys.forget()
        await self.heed_keys()

    def stop(self) -> None:
        """End every long reply, and be ready for no traffic from now on. May be called twice."""
        self.long.stop()
