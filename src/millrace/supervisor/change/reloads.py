"""The last change of the plan, and what became of it. Frozen values."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from millrace.supervisor.change.difference import Difference
from millrace.supervisor.plan import Plan


class Outcome(StrEnum):
    """What became of a change of the plan."""

    PENDING = "pending"  # not everything that it changes is up
    APPLIED = "applied"
    ROLLED_BACK = "rolled-back"  # the plan before is in force again
    FAILED = "failed"  # and the new plan stays, as it says itself
    SUPERSEDED = "superseded"  # yet another plan came
    ABANDONED = "abandoned"  # everything is being stopped


class Reload(Struct, frozen=True, kw_only=True):
    """A change of the plan. `why` says what went wrong.

    `before` is the last plan that was up, and `wanted` how many instances there were to be under it; `given` is how many this
    change asked for. `watched` are the processes that have to be up for it to count as applied.
    """

    number: int
    difference: Difference
    before: Plan
    wanted: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, int] = field(default_factory=dict)
    watched: frozenset[str] = frozenset()
    outcome: Outcome = Outcome.PENDING
    why: str = ""
