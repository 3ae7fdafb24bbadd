"""What a store keeps of many jobs at once: those that wait for others, batches, schedules.

The hot verbs know nothing of it. A job that waits is `pending`, so no claim sees it; that the last of those that it waits for has
ended is looked up by whoever leads, among the few rows of jobs that wait.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from millrace.domain.after import Awaited, Waiting
from millrace.domain.batches import Batch, NewBatch
from millrace.domain.records import Job, NewJob
from millrace.domain.schedules import NewSchedule, Run, Schedule
from millrace.domain.states import State
from millrace.domain.tenants import Over


class BatchAdded(Struct, frozen=True, kw_only=True):
    """What became of a batch.

    `repeated`: its key was known with the same body, and `id` is the first one's. `conflict`: it was known with another body.
    `refused`: the quota that forbids one of its jobs, by the time at `at`. In the last two nothing was stored.
    """

    id: str
    repeated: bool = False
    conflict: bool = False
    refused: Over | None = None
    at: datetime | None = None


class ManyJobs(Protocol):
    """Every method is one transaction, durable when it returns; time is the store's."""

    # Jobs that wait for others; `add_jobs` takes them

    async def decidable(self, *, limit: int) -> Sequence[Waiting]:
        """Jobs of which it can be said whether they run: all that they wait for has ended, or one in a way that it should not.
        Those that are paused are left out.
        """

    async def forget_waits(self, job_ids: Collection[str]) -> None:
        """These jobs wait for no others any more."""

    async def awaited(self, job_id: str) -> Sequence[Awaited]:
        """What a job waits for."""

    # Batches

    async def add_batch(self, batch: NewBatch, jobs: Sequence[NewJob]) -> BatchAdded:
        """Accept all of these jobs, as :meth:`Store.add_jobs` does each, or none."""

    async def batch(self, batch_id: str) -> Batch | None:
        """One of them."""

    async def batches(self, *, tenant: str | None, below: int | None, limit: int) -> Sequence[Batch]:
        """Batches, newest first, with a number below one."""

    async def batch_jobs(
        self, batch_id: str, *, states: Collection[State], above: int | None, limit: int
    ) -> Sequence[Job]:
        """Its jobs in these states (none: in any), in the order in which they were submitted, with a number above one."""

    async def forget_batches(self, *, limit: int) -> int:
        """Delete batches of whose jobs none is left; how many."""

    # Schedules

    async def add_schedule(self, schedule: NewSchedule) -> Schedule | None:
        """Keep a schedule; None where its tenant has one of that name."""

    async def schedules(self) -> Sequence[Schedule]:
        """Every one, by tenant and name."""

    async def schedule(self, schedule_id: str) -> Schedule | None:
        """One of them."""

    async def due_schedules(self, *, limit: int) -> Sequence[Schedule]:
        """Those whose time has come, the longest waiting first."""

    async def set_schedule_due(self, schedule_id: str, due_at: datetime | None) -> bool:
        """Say when it is due next, or (None) pause it; whether it is there."""

    async def remove_schedule(self, schedule_id: str) -> bool:
        """Forget it with its runs; whether it was there."""

    async def run_schedule(
        self, schedule: Schedule, run: Run, *, next_due: datetime | None, job: NewJob | None
    ) -> Run | None:
        """Write down what became of a time, with the job, accepted as by :meth:`Store.add_jobs`; where a quota of its tenant
        forbids that, the run is `refused` and says so. The schedule is due at `next_due` from then on.

        None, and nothing is changed, where the schedule is not as it was read: it is due at another moment, had another job
        since, or is gone. None also where it has a run of that time; then it moves on, and nothing is run.
        """

    async def runs(self, schedule_id: str, *, limit: int) -> Sequence[Run]:
        """The last of its runs, newest first."""
