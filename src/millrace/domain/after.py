"""Jobs that run after others: what becomes of one, from how the others stand. Pure.

Only jobs that are there can be named, so none ever waits for itself, whichever way round.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum

from msgspec import Struct

from millrace.domain.records import Task
from millrace.domain.states import FINAL, State


class Awaited(Struct, frozen=True, kw_only=True):
    """A job that another waits for. `state` is None where it is gone; `any_end`: how it ends does not matter."""

    number: int
    state: State | None
    any_end: bool

    @property
    def is_met(self) -> bool:
        """Whether nobody has to wait for it any more."""
        return self.state is State.COMPLETED or (self.any_end and self._has_ended)

    @property
    def is_missed(self) -> bool:
        """Whether nobody needs to wait for it any more, because it will not be what was waited for."""
        return self._has_ended and not self.is_met

    @property
    def _has_ended(self) -> bool:
        return self.state is None or self.state in FINAL


class Waiting(Struct, frozen=True, kw_only=True):
    """The task of a job that waits for others, and those."""

    task: Task
    awaited: tuple[Awaited, ...]


class Verdict(Enum):
    """What becomes of a job that waits, where nothing has to be told of it."""

    WAITS = "waits"
    RUNS = "runs"
    RUNS_LATER = "runs later"
    """Nothing but its own time is waited for."""
    MOOT = "moot"
    """It waits no more: somebody canceled it, or it was let go already."""


def judge(waiting: Waiting, now: datetime) -> Verdict | str:
    """What becomes of it; a sentence says why it can never run."""
    task = waiting.task
    if task.state is State.PAUSED:
        return Verdict.WAITS
    if task.state is not State.PENDING or task.attempt:  # one that a worker had waits for something else
        return Verdict.MOOT
    missed = next((one for one in waiting.awaited if one.is_missed), None)
    if missed is not None:
        return never(missed)
    if not all(one.is_met for one in waiting.awaited):
        return Verdict.WAITS
    return Verdict.RUNS_LATER if task.due_at is not None and task.due_at > now else Verdict.RUNS


def never(missed: Awaited) -> str:
    """Why a job cannot run whose predecessor will not complete."""
    return f"cannot run: it runs after job {missed.number}, which {_ENDS[missed.state]}"


def waits_for(awaited: Sequence[Awaited]) -> str:
    """What a job waits for, as a sentence; empty for nothing."""
    still = [f"job {one.number} ({one.state})" for one in awaited if not one.is_met]
    if not still:
        return ""
    more = f" and {len(still) - _SHOWN} more" if len(still) > _SHOWN else ""
    return f"it runs after {', '.join(still[:_SHOWN])}{more}"


_SHOWN = 5
_ENDS: Mapping[State | None, str] = {
    None: "is gone",
    State.FAILED: "failed",
    State.CANCELED: "was canceled",
    State.REJECTED: "was rejected",
}
