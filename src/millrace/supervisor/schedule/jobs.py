"""What a supervisor knows of each scheduled process: when it comes due, what waits, and how the last runs went. Pure.

The wall clock is only ever heard of in `tick`. Moments of runs are the last known wall time plus what has passed since on the
monotonic clock, so a run never ends before it began, whatever the wall clock does.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import count

from msgspec import Struct
from msgspec.structs import replace

from millrace.runtime.cron import next_after
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

    `due` is when it was wanted, `began` when its process was there: it may have waited for what it depends on. `slot` is the
    index of the instance that it runs as. `verdict` is why it is stopped, if it is.
    """

    number: int
    by: By
    due: datetime
    slot: int = 0
    verdict: Outcome | None = None
    began: datetime | None = None
    ended: datetime | None = None
    code: int | None = None
    outcome: Outcome | None = None
    how: str = ""


class Job(Struct, frozen=True, kw_only=True):
    """A scheduled process. `due` is None until the clock was first looked at.

    `current` are the runs that go on, oldest first, each in a slot of its own; `queued` those that wait for one of them.
    """

    paused: bool = False
    due: datetime | None = None
    current: tuple[Run, ...] = ()
    queued: tuple[Run, ...] = ()
    history: tuple[Run, ...] = ()
    count: int = 0
    skipped: int = 0

    def at(self, slot: int) -> Run | None:
        """The run that goes on in a slot."""
        return next((run for run in self.current if run.slot == slot), None)

    def with_run(self, run: Run) -> "Job":
        """With this in the place of the run of the same number that goes on."""
        return replace(self, current=tuple(run if one.number == run.number else one for one in self.current))


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


def judge(schedule: Schedule, job: Job) -> Verdict:
    """What becomes of one more run."""
    if len(job.current) < schedule.at_once:
        return Verdict.START
    if schedule.overlap is Overlap.REPLACE:
        return Verdict.REPLACE
    return Verdict.WAIT if schedule.overlap is Overlap.QUEUE and len(job.queued) < MAX_QUEUED else Verdict.SKIP


def wanted(schedule: Schedule, job: Job, by: By, due: datetime) -> tuple[Job, Verdict]:
    """One more run is wanted: it starts, waits, takes the place of the oldest that goes on, or is skipped."""
    verdict = judge(schedule, job)
    if verdict is Verdict.SKIP:
        return replace(job, skipped=job.skipped + 1), verdict
    run = Run(number=job.count + 1, by=by, due=due)
    job = replace(job, count=run.number)
    if verdict is not Verdict.REPLACE:
        return filled(schedule, replace(job, queued=(*job.queued, run))), verdict
    # Whoever waited to take its place is passed over, too: only the newest counts. Where one ends anyhow, that is the place.
    if not any(one.verdict for one in job.current):
        job = job.with_run(replace(job.current[0], verdict=Outcome.REPLACED))
    return replace(job, queued=(run,), skipped=job.skipped + len(job.queued)), verdict


def filled(schedule: Schedule, job: Job) -> Job:
    """As many of those that wait as may go on do, each in the lowest slot that is free."""
    while job.queued and len(job.current) < schedule.at_once:
        taken = {run.slot for run in job.current}
        run = replace(job.queued[0], slot=next(slot for slot in count() if slot not in taken))
        job = replace(job, current=(*job.current, run), queued=job.queued[1:])
    return job


def over(job: Job, run: Run, outcome: Outcome, ended: datetime, *, code: int | None, how: str) -> tuple[Job, Run]:
    """A run that went on is over; with the run as it ended. Whoever waits for its place gets it by :func:`filled`."""
    done = replace(run, began=run.began or ended, ended=ended, code=code, outcome=outcome, how=how)
    rest = tuple(one for one in job.current if one.number != run.number)
    return replace(job, current=rest, history=(*job.history, done)[-HISTORY:]), done


def called_off(job: Job, number: int, at: datetime, how: str) -> tuple[Job, Run | None]:
    """A run that waits for others never begins; with the run as it ended, None where no such run waits."""
    run = next((one for one in job.queued if one.number == number), None)
    if run is None:
        return job, None
    done = replace(run, began=at, ended=at, outcome=Outcome.STOPPED, how=how)
    rest = tuple(one for one in job.queued if one is not run)
    return replace(job, queued=rest, history=(*job.history, done)[-HISTORY:]), done


def cleared(job: Job) -> Job:
    """Nothing waits for the runs that go on."""
    return replace(job, queued=(), skipped=job.skipped + len(job.queued))
