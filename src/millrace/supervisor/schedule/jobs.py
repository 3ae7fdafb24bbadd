"""What a supervisor knows of each scheduled process: when it comes due, what waits, and how the last runs went. Pure.

The wall clock is only ever heard of in `tick`. Moments of runs are the last known wall time plus what has passed since on the
monotonic clock, so a run never ends before it began, whatever the wall clock does.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from millrace.supervisor.schedule.times import next_after
from millrace.supervisor.schedule.values import Overlap, Schedule

HISTORY = 100
"""How many runs of each process are remembered."""
MAX_QUEUED = 100
"""How many ticks may wait for their run; more are skipped."""
CORRECTION = timedelta(hours=3)
"""A clock set back by less shows times that were there already, and nothing runs twice; by more, it was wrong before, and the
times are counted anew. Debian's cron(8) has the same bound."""
CLOCK_LOOK_S = 30.0
"""How often the wall clock is looked at, so that one that jumps is known for it in time."""


class By(StrEnum):
    """Who wanted a run."""

    SCHEDULE = "schedule"
    HAND = "hand"


class Outcome(StrEnum):
    """What became of a run."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    REPLACED = "replaced"  # stopped for the next one
    STOPPED = "stopped"  # by a person, or with everything


class Run(Struct, frozen=True, kw_only=True):
    """One run. `ended` is None while it goes on; `code` where it has no exit code; `how` is the end in words.

    `due` is when it was wanted, `began` when its process was there: it may have waited for what it depends on.
    """

    number: int
    by: By
    due: datetime
    began: datetime | None = None
    ended: datetime | None = None
    code: int | None = None
    outcome: Outcome | None = None
    how: str = ""


class Job(Struct, frozen=True, kw_only=True):
    """A scheduled process. `due` is None until the clock was first looked at.

    `queued` are runs that wait for the one that goes on. `verdict` is why the run that goes on is stopped.
    """

    paused: bool = False
    due: datetime | None = None
    current: Run | None = None
    verdict: Outcome | None = None
    queued: tuple[Run, ...] = ()
    history: tuple[Run, ...] = ()
    count: int = 0
    skipped: int = 0


class Watch(Struct, frozen=True):
    """One look at both clocks: the wall, and the monotonic one in seconds."""

    wall: datetime
    at_s: float

    def wall_at(self, at_s: float) -> datetime:
        """The wall time of a moment of the monotonic clock."""
        return self.wall + timedelta(seconds=at_s - self.at_s)


def tick(schedule: Schedule, job: Job, before: Watch | None, now: datetime) -> tuple[Job, datetime | None]:
    """What a look at the clock changes, and the time that has come, if one has.

    Of the times that a jump forward passed over, or the sleep of the machine, the last comes late and the others never.
    """
    if job.due is not None and now >= job.due:
        return replace(job, due=next_after(schedule.expression, schedule.zone, now)), job.due
    if job.due is None or (before is not None and now < before.wall - CORRECTION):
        return replace(job, due=next_after(schedule.expression, schedule.zone, now)), None
    return job, None


def soonest(jobs: Mapping[str, Job], now: datetime) -> float:
    """Seconds until the clock has to be looked at again."""
    waits = [(job.due - now).total_seconds() for job in jobs.values() if job.due is not None]
    return max(0.0, min((*waits, CLOCK_LOOK_S)))


class Verdict(StrEnum):
    """What becomes of a run that is wanted."""

    START = "start"
    WAIT = "wait"
    SKIP = "skip"
    REPLACE = "replace"


def judge(overlap: Overlap, job: Job) -> Verdict:
    """What becomes of one more run."""
    if job.current is None:
        return Verdict.START
    if overlap is Overlap.REPLACE:
        return Verdict.REPLACE
    return Verdict.WAIT if overlap is Overlap.QUEUE and len(job.queued) < MAX_QUEUED else Verdict.SKIP


def wanted(schedule: Schedule, job: Job, by: By, due: datetime) -> tuple[Job, Verdict]:
    """One more run is wanted: it starts, waits, takes the place of the one that goes on, or is skipped."""
    verdict = judge(schedule.overlap, job)
    if verdict is Verdict.SKIP:
        return replace(job, skipped=job.skipped + 1), verdict
    run = Run(number=job.count + 1, by=by, due=due)
    job = replace(job, count=run.number)
    if verdict is Verdict.START:
        return replace(job, current=run, verdict=None), verdict
    if verdict is Verdict.WAIT:
        return replace(job, queued=(*job.queued, run)), verdict
    # Whoever waited to take its place is passed over, too: only the newest counts.
    return replace(
        job, queued=(run,), skipped=job.skipped + len(job.queued), verdict=job.verdict or Outcome.REPLACED
    ), verdict


def over(
    job: Job, outcome: Outcome, ended: datetime, *, code: int | None = None, how: str = ""
) -> tuple[Job, Run | None]:
    """The run that went on is over, and the next one that waited is the current one; with the run as it ended."""
    run = job.current
    if run is None:
        return job, None
    run = replace(run, began=run.began or ended, ended=ended, code=code, outcome=outcome, how=how)
    following = job.queued[0] if job.queued else None
    history = (*job.history, run)[-HISTORY:]
    return replace(job, current=following, verdict=None, queued=job.queued[1:], history=history), run


def cleared(job: Job) -> Job:
    """Nothing waits for the run that goes on."""
    return replace(job, queued=(), skipped=job.skipped + len(job.queued))
