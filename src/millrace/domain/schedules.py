"""Schedules: jobs that are submitted again and again, and what becomes of each time that comes due. Pure."""

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from millrace.domain.states import FINAL, State
from millrace.domain.tenants import Over

LATE = timedelta(minutes=1)
"""A time that comes so late was missed: nobody was there to see it."""
RUNS_KEPT = 100
"""Of each schedule, how many runs are remembered."""


class Overlap(StrEnum):
    """What becomes of a time while the last job of the schedule has not ended."""

    FORBID = "forbid"  # it is skipped
    ALLOW = "allow"  # its job runs beside the other
    REPLACE = "replace"  # the other is canceled


class Missed(StrEnum):
    """What becomes of times that came while no master was there."""

    ONCE = "once"  # one job, late, for all of them
    SKIP = "skip"  # none


class Outcome(StrEnum):
    """What became of a time."""

    SUBMITTED = "submitted"
    SKIPPED = "skipped"  # the last job had not ended
    MISSED = "missed"  # nobody was there, and none is made up for
    REFUSED = "refused"  # the job could not be accepted


class NewSchedule(Struct, frozen=True, kw_only=True):
    """A schedule to be kept. `request` is the job's, as JSON text; `due_at` None: it is paused."""

    id: str
    tenant: str
    name: str
    cron: str
    zone: str
    overlap: Overlap
    missed: Missed
    request: str
    actor: str
    due_at: datetime | None


class Schedule(NewSchedule, frozen=True, kw_only=True):
    """A schedule as it stands. `last_job` is the number of the job that it submitted last, `last_state` how that one stands
    (None where there was none, or it is gone).
    """

    created_at: datetime
    last_job: int | None
    last_state: State | None

    @property
    def is_busy(self) -> bool:
        """Whether its last job has not ended."""
        return self.last_state is not None and self.last_state not in FINAL


class Run(Struct, frozen=True, kw_only=True):
    """What became of one time. `job` is its job's number where there was one, `actor` who wanted it."""

    due_at: datetime
    at: datetime
    actor: str
    outcome: Outcome
    reason: str = ""
    job: int | None = None
    state: State | None = None  # of the job; None where it is gone


class Verdict(Struct, frozen=True):
    """What a time comes to: a job, perhaps in the place of the last one, or none and why."""

    outcome: Outcome
    reason: str = ""
    replaces: bool = False


def judge(schedule: Schedule, due: datetime, now: datetime) -> Verdict:
    """What becomes of a time that has come."""
    if schedule.missed is Missed.SKIP and now - due > LATE:
        return Verdict(Outcome.MISSED, "no master was there at that time")
    if schedule.is_busy and schedule.overlap is Overlap.FORBID:
        return Verdict(Outcome.SKIPPED, f"job {schedule.last_job} had not ended")
    return Verdict(Outcome.SUBMITTED, replaces=schedule.is_busy and schedule.overlap is Overlap.REPLACE)


def refused(over: Over) -> str:
    """Why a run has no job that a quota forbids."""
    return f"quota `{over.quota}` of the tenant is used up: {over.used} of {over.limit}"
