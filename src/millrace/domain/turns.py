"""Fair share between tenants: whose job stands where in the line of one class and one weight. Pure.

Tenants take turns. A job's turn is the one after its tenant's last, and never one that is over: start-time fair queueing
(Goyal, Vin and Cheng 1996) with every job counting as one. A tenant of weight three has three places in each of its turns,
and takes the next one when they are full. Whoever is the first in a turn opens it, and its rank is that of
:mod:`millrace.domain.order`, the moment of acceptance less the head start; whoever comes to a turn later shares the rank of
who opened it. So a tenant that is alone opens every turn, and nothing is other than without tenants; one that comes to a
line of ten thousand jobs of another takes the second place, the fourth, the sixth.

The rank is fixed at acceptance, and nobody's gets worse later. Only those that opened a turn and are still queued are looked at.
"""

from msgspec import Struct

AHEAD_MS = 60_000
"""By how much the rank of a turn may lie ahead of its time, so that jobs accepted in one millisecond are still turns of
their own: far less than one unit of weight by default, so that weights go before turns."""


class Turn(Struct, frozen=True):
    """The newest turn of a line: its rank in milliseconds, and the tenant that opened it."""

    rank: int
    tenant: str


class Last(Struct, frozen=True):
    """A tenant's last turn: its rank, how many places of it the tenant has, and whether it has no more of them, or is over."""

    rank: int
    taken: int
    over: bool = False


class Place(Struct, frozen=True):
    """Where a job goes, whether it opens a turn, and how many places of that turn its tenant then has."""

    rank: int
    opens: bool
    taken: int = 1


def place(
    tenant: str, plain: int, newest: Turn | None, following: int | None, *, weight: int = 1, last: Last | None = None
) -> Place:
    """The place of a tenant's next job.

    Args:
        tenant: whose job it is.
        plain: its rank without other tenants (ms).
        newest: the newest turn in the line; None where nobody waits in it.
        following: the rank of the first turn after this tenant's last; None where it has had them all.
        weight: how many places of a turn are the tenant's.
        last: the tenant's last turn, where its weight is not one; None where nothing is known of it.
    """
    if last is not None and not last.over and last.taken < weight:
        return Place(last.rank, opens=False, taken=last.taken + 1)
    if newest is not None and newest.tenant != tenant and following is not None:
        return Place(following, opens=False)
    # Its places in a turn outlive who opened it, and what comes later must not go before them.
    rank = max(plain, plain if newest is None else newest.rank + 1, plain if last is None else last.rank)
    return Place(min(rank, plain + AHEAD_MS), opens=True)
