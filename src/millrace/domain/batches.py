"""Batches: many jobs that were submitted at once, and how far they have come together."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from millrace.domain.states import FINAL, State


class NewBatch(Struct, frozen=True, kw_only=True):
    """A batch to be accepted with its jobs, or not at all. The key, with `body_digest`, makes a repeated one the same."""

    id: str
    tenant: str
    name: str
    actor: str
    key: str | None = None
    body_digest: str | None = None


class Batch(Struct, frozen=True, kw_only=True):
    """A batch as it stands.

    Attributes:
        total: how many jobs it was accepted with; those past their retention are in no count.
        counts: of the jobs that are there, by state.
        running: the sum of the fractions (0 to 1 each) that unfinished jobs have come.
    """

    id: str
    number: int
    tenant: str
    name: str
    total: int
    actor: str
    created_at: datetime
    counts: Mapping[State, int]
    running: float

    @property
    def ended(self) -> int:
        """How many of its jobs have ended, or are gone, which they are only after their end."""
        return self.total - sum(count for state, count in self.counts.items() if state not in FINAL)

    @property
    def is_done(self) -> bool:
        """Whether all have ended."""
        return self.ended == self.total

    @property
    def fraction(self) -> float:
        """How far it has come, from 0 to 1: each job counts the same."""
        return 1.0 if self.is_done else (self.ended + self.running) / self.total
