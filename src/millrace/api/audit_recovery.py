"""Entries of new jobs that a master still owed to the audit trail when it was killed: written from the jobs themselves.

The entry of an accepted job is written a moment after its answer (docs/decisions/0028-audit.md), so a master that is killed in
that moment leaves jobs without one. What is owed are its newest jobs, since entries are written in the order of the answers.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from millrace.api.audit import entries_of, made_job
from millrace.domain.chain import ID_BYTES, Block, pack
from millrace.domain.masters import Attendance
from millrace.domain.records import Job
from millrace.edge.audit import AuditEntry
from millrace.scheduler.journal import MOST_WAITING
from millrace.store.store import JobFilter, Store
from millrace.telemetry.logs import logger

log = logger("audit")

PAGE = 200
"""Jobs that are looked at together; where none of so many lacks its entry, none before them does."""
SETTLE = timedelta(seconds=10)
"""How old a job must be to count as one whose entry will not come any more, where masters live that may still write theirs."""
OVERLAP = timedelta(seconds=60)
"""How long before a master was last seen, and how long after a job, is looked at, for clocks and writes that take long."""
LOOK_S = 5.0
"""How often `Survivors.look` is called."""
AFTER_START = timedelta(minutes=10)
"""How far a starting master looks back where it cannot know who died before it."""
DETAIL = (
    "written from the job, as the master that accepted it ended before it wrote this; client and request are not known"
)
_encode = msgspec.json.Encoder().encode


async def recover(store: Store, *, since: datetime | None = None, before: datetime | None = None) -> int:
    """Write the entries that are missing; how many. May run twice, also at the same time: a job's entry has the job's own id.

    Args:
        store: where jobs and trail are.
        since: go back at least so far; without it as far as anything is missing.
        before: leave out jobs that were accepted later.

    Raises:
        StoreError: it does not answer, or takes no entry.
    """
    trail = _Trail(store)
    cursor: str | None = None
    written = 0
    while written < MOST_WAITING:  # no master owed more
        # The entry of a batch tells of all its jobs and is written before its answer, and nobody asks for the job of a schedule.
        page = await store.jobs(JobFilter(alone=True), cursor=cursor, limit=PAGE)
        old_enough = [job for job in page.jobs if before is None or job.created_at < before]
        owed = [job for job in old_enough if not await trail.tells_of(job)]
        for job in owed:
            await _write(store, job)
        written += len(owed)
        cursor = page.next_cursor
        reached = since is None or (bool(page.jobs) and page.jobs[-1].created_at < since)
        if cursor is None or (reached and old_enough and not owed):
            break
    if written:
        log.warning("audit.recovered", entries=written)
    return written


async def _write(store: Store, job: Job) -> None:
    first = (await store.transitions(job.id))[0]
    entry = AuditEntry(
        at=job.created_at, request_id="", caller=first.actor, role="", client="", method="POST", route="/v1/jobs",
        path="/v1/jobs", status=201, after=made_job(job), detail=DETAIL,
    )  # fmt: skip
    block_id = hashlib.sha256(b"owed for " + job.id.encode()).digest()[:ID_BYTES]
    await store.add_audit(block_id, pack([_encode(entry)]))


class _Trail:
    """The jobs of which the trail tells, read backwards as far as anybody asks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: set[str] = set()
        self._number = 2**62
        self._until = datetime.max.replace(tzinfo=UTC)
        self._ended = False
        self._forgotten = False  # it once was longer

    async def tells_of(self, job: Job) -> bool:
        """Whether it does, or did before its beginning was deleted."""
        while job.id not in self._jobs and not self._ended and self._until > job.created_at - OVERLAP:
            await self._go_back()
        return job.id in self._jobs or (self._forgotten and job.created_at < self._until)

    async def _go_back(self) -> None:
        blocks = await self._store.audit_before(self._number, limit=PAGE)
        if not blocks:
            self._ended = True
            self._forgotten = (await self._store.audit_head()).oldest > 1
            return
        self._jobs.update(_jobs_in(blocks))
        self._number = blocks[-1].number
        self._until = datetime.fromtimestamp(blocks[-1].at_ms / 1000, UTC)


def _jobs_in(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        for entry in entries_of(block):
            if entry.method == "POST" and isinstance(entry.after, dict) and isinstance(entry.after.get("job"), str):
                yield entry.after["job"]


class Survivors:
    """Of many masters, the one that leads writes what another owed that has gone; all of them note who has."""

    def __init__(self, store: Store, attendance: Callable[[], Attendance | None], leads: Callable[[], bool]) -> None:
        """`attendance` is who was there when the store was asked last."""
        self._store = store
        self._attendance = attendance
        self._leads = leads
        self._seen: dict[str, datetime] | None = None
        self._due: list[tuple[datetime, datetime]] = []  # when to look, and back to where

    async def look(self) -> None:
        """Call it every `LOOK_S` seconds.

        Raises:
            StoreError: what is owed could not be written; it is tried again.
        """
        attendance = self._attendance()
        if attendance is None or not attendance.masters:
            return
        now = max(one.seen_at for one in attendance.masters)  # the store's time
        present = {one.id: one.seen_at for one in attendance.masters}
        if self._seen is None:
            self._due.append((now + SETTLE, now - AFTER_START))  # all may have died at once
        else:
            gone = (at for master, at in self._seen.items() if master not in present)
            self._due += [(now + SETTLE, at - OVERLAP) for at in gone]
        self._seen = present
        ripe = [since for at, since in self._due if at <= now]
        if ripe and self._leads():
            await recover(self._store, since=min(ripe), before=now - SETTLE)
        self._due = [one for one in self._due if one[0] > now]
