"""Jobs that wait for others, on SQLite."""

from collections.abc import Collection, Mapping, Sequence

from millrace.domain.after import Awaited, Waiting
from millrace.domain.records import NewJob
from millrace.store import rows
from millrace.store.sqlite.access import Access
from millrace.store.sqlite.connection import Session


class Dependencies(Access):
    """This part of a :class:`~millrace.store.many.ManyJobs`."""

    async def decidable(self, *, limit: int) -> Sequence[Waiting]:
        return await self._read(lambda session: _decidable(session, limit))

    async def forget_waits(self, job_ids: Collection[str]) -> None:
        ids = rows.to_text(list(job_ids))
        await self._write(lambda session: session.run("forget_waits", ids), weight=len(job_ids))

    async def awaited(self, job_id: str) -> Sequence[Awaited]:
        return await self._read(lambda session: _awaited(session, [_number(session, job_id)]).get(job_id, ()))


def add_dependencies(session: Session, number: int, job: NewJob) -> None:
    """What a new job waits for."""
    for after in job.after:
        session.run("add_dependency", number, after, job.after_any_end)


def _number(session: Session, job_id: str) -> int:
    found = session.one("number_of_job", job_id)
    return 0 if found is None else int(found[0])


def _decidable(session: Session, limit: int) -> Sequence[Waiting]:
    numbers = [row[0] for row in session.all("decidable", limit)]
    awaited = _awaited(session, numbers) if numbers else {}
    tasks = session.all("first_tasks", rows.to_text(numbers)) if numbers else ()
    return rows.waiting(tasks, awaited)


def _awaited(session: Session, numbers: Sequence[int]) -> Mapping[str, tuple[Awaited, ...]]:
    return rows.awaited(session.all("awaited_of", rows.to_text(numbers)))
