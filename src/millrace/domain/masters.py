"""Masters: any number on one store, all equal. One of them leads for a term at a time, and does what one is enough for.

A term is a row with an epoch. Its time is the store's, so that no clock of a master counts; a master itself leads only for as long
after it *asked* as the term lasts, by its own monotonic clock, so that one which stood still does not believe it still leads.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

TERM_S = 4.0
"""How long nobody leads, at most, after the leader has gone without a word."""
RENEW_S = 1.0


class Presence(Struct, frozen=True, kw_only=True):
    """A master that says that it lives."""

    id: str
    name: str
    version: str


class MasterSeen(Struct, frozen=True, kw_only=True):
    """A master that was seen within the last term."""

    id: str
    name: str
    version: str
    started_at: datetime
    seen_at: datetime


class Attendance(Struct, frozen=True, kw_only=True):
    """Who is there, oldest first, and who leads (empty: nobody at this moment); `epoch` grows with each new leader."""

    leader: str
    epoch: int
    masters: Sequence[MasterSeen]


class Term:
    """What one master knows of its own term. Pure: the moments are given, in seconds of its monotonic clock."""

    def __init__(self, master_id: str) -> None:
        """Nobody has asked yet."""
        self.master_id = master_id
        self.attendance: Attendance | None = None
        self._until_s = self._true_until_s = float("-inf")

    def heard(self, attendance: Attendance, *, asked_s: float, term_s: float) -> bool:
        """The store answered what was asked at `asked_s`; returns whether this master leads now, and did not before."""
        before = self.leads(asked_s)
        self.attendance = attendance
        self._true_until_s = asked_s + term_s
        self._until_s = asked_s + term_s if attendance.leader == self.master_id else float("-inf")
        return self.leads(asked_s) and not before

    def is_true(self, now_s: float) -> bool:
        """Whether what was heard last can still be so: no term that it tells of is over."""
        return now_s < self._true_until_s

    def leads(self, now_s: float) -> bool:
        """Whether this master leads."""
        return now_s < self._until_s
