"""The node's heartbeat and the guard of its lease, each in a thread of its own.

The heartbeat must come whatever the event loop does, and the guard must stop the engines whatever the heartbeat's
request does: a connection may hang for longer than the lease lasts.
"""

import threading
from collections.abc import Callable

from msgspec import Struct

from millrace.client import work
from millrace.client.client import Client
from millrace.client.errors import ClientError, NotFoundError, StaleError
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import HeartbeatReply, HeartbeatRequest
from millrace.worker.board import Board
from millrace.worker.lease import Lease

log = logger("worker")


class Membership(Struct, frozen=True, kw_only=True):
    """What a registration gave: the node's id and epoch, and how often to beat."""

    node: str
    epoch: int
    interval_s: float


class Listeners(Struct, frozen=True, kw_only=True):
    """Whom to tell; each is called in a thread of this module and must return at once.

    Attributes:
        answered: a heartbeat sent at that monotonic time was answered.
        rejected: the membership is over: register again.
        expired: the lease could not be renewed in time; the engines must be dead before anything else happens.
    """

    answered: Callable[[float, HeartbeatReply], None]
    rejected: Callable[[Membership], None]
    expired: Callable[[], None]


class Heartbeat:
    """Beats for one membership at a time."""

    def __init__(self, *, client: Client, board: Board, monotonic: Callable[[], float], listeners: Listeners) -> None:
        """`client` is used by the heartbeat's thread alone."""
        self._client = client
        self._board = board
        self._monotonic = monotonic
        self._listeners = listeners
        self._changed = threading.Condition()
        self._membership: Membership | None = None
        self._lease: Lease | None = None
        self._asked = False
        self._trouble = ""  # why the last heartbeat failed
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start both threads. They are idle until :meth:`join`."""
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
            threading.Thread(target=self._guard, name="lease-guard", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads; returns when they have ended (at most one request's time-out later)."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def join(self, membership: Membership, lease: Lease) -> None:
        """Beat for this membership from now on."""
        with self._changed:
            self._membership = membership
            self._lease = lease
            self._changed.notify_all()

    def ask(self) -> None:
        """Beat as soon as possible."""
        with self._changed:
            self._asked = True
            self._changed.notify_all()

    def holds(self) -> bool:
        """Whether the lease surely holds at this moment."""
        with self._changed:
            return self._lease is not None and self._lease.holds(self._monotonic())

    def _beat(self) -> None:
        wait_s = 0.0
        while True:
            with self._changed:
                self._wait_to_beat(wait_s)
                if self._stopping:
                    return
                membership, lease = self._membership, self._lease
                self._asked = False
            if membership is not None and lease is not None:
                wait_s = self._one_beat(membership, lease)

    def _wait_to_beat(self, wait_s: float) -> None:
        """Wait for the next beat, for a membership, for somebody who asks, or for the stop; holds the lock."""
        due_s = self._monotonic() + wait_s
        known = self._membership
        while not self._stopping and not (self._membership is not None and self._asked):
            left_s = due_s - self._monotonic()
            if self._membership is not None and (left_s <= 0 or self._membership is not known):
                return
            self._changed.wait(None if self._membership is None else left_s)

    def _one_beat(self, membership: Membership, lease: Lease) -> float:
        """Send one heartbeat; the seconds to wait before the next."""
        sent_s = self._monotonic()
        silence_s = max(0.1, min(membership.interval_s * 2, lease.ttl_s / 2))
        request = HeartbeatRequest(epoch=membership.epoch, tasks=self._board.reports())
        try:
            reply = self._client.do(
                work.heartbeat(membership.node, request, silence_s=silence_s), patience_s=membership.interval_s
            )
        except (StaleError, NotFoundError) as error:
            log.warning("worker.membership_over", node=membership.node, epoch=membership.epoch, reason=str(error))
            with self._changed:
                if self._membership is membership:
                    self._membership = None
            self._listeners.rejected(membership)
            return 0.0
        except ClientError as error:
            if str(error) != self._trouble:  # said once, though it is tried often
                self._trouble = str(error)
                log.warning("worker.heartbeat_failed", reason=self._trouble)
            return membership.interval_s / 4
        if self._trouble:
            self._trouble = ""
            log.info("worker.heartbeat_answered", node=membership.node)
        with self._changed:
            if self._membership is membership and self._lease is not None:
                self._lease = self._lease.later(Lease(sent_s=sent_s, ttl_s=reply.lease_ttl_s))
                self._changed.notify_all()
        self._listeners.answered(sent_s, reply)
        return max(0.0, membership.interval_s - (self._monotonic() - sent_s))

    def _guard(self) -> None:
        told: Lease | None = None
        while True:
            with self._changed:
                while not self._stopping and (self._lease is None or self._lease is told or self._left_s() > 0):
                    idle = self._lease is None or self._lease is told
                    self._changed.wait(None if idle else self._left_s())
                if self._stopping:
                    return
                told = self._lease
            log.error("worker.lease_expired")
            self._listeners.expired()

    def _left_s(self) -> float:
        return self._lease.stop_s - self._monotonic() if self._lease is not None else 0.0
