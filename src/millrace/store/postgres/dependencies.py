"""Jobs that wait for others, on PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence

from millrace.domain.after import Awaited, Waiting
from millrace.domain.records import NewJob
from millrace.store import rows
from millrace.store.postgres.access import Access, number_of
from millrace.store.postgres.arriving import await_input
from millrace.store.postgres.connection import Session
from millrace.store.postgres.jobs import add_jobs
from millrace.store.store import Added


class Dependencies(Access):
    """This part of a :class:`~millrace.store.many.ManyJobs`."""

    async def decidable(self, *, limit: int) -> Sequence[Waiting]:
        return await self._read(lambda session: _decidable(session, limit))

    async def forget_waits(self, job_ids: Collection[str]) -> None:
        await self._write(lambda session: session.run("forget_waits", list(job_ids)))

    async def awaited(self, job_id: str) -> Sequence[Awaited]:
        async def query(session: Session) -> Sequence[Awaited]:
            return (await _awaited(session, [await number_of(session, job_id)])).get(job_id, ())

        return await self._read(query)


async def add_with_dependencies(session: Session, jobs: Sequence[NewJob]) -> Sequence[Added]:
    """Accept jobs within a transaction, with what they wait for: other jobs, or their input."""
    (answers,) = await add_jobs(session, [jobs])
    if isinstance(answers, Exception):
        raise answers
    for job, added in zip(jobs, answers, strict=True):
        if added.cursor is not None:  # it is new
            for after in job.after:
                await session.run("add_dependency", added.number, after, job.after_any_end)
            if job.awaits is not None:
                await await_input(session, added.number, 1, 0, job.awaits)
                await session.run("set_own_class", added.number, job.own_class_id)
    return answers


async def accepted(session: Session, jobs: Sequence[NewJob]) -> tuple[Sequence[Added], Sequence[Added]]:
    """The same, as the answer and as what was accepted."""
    answers = await add_with_dependencies(session, jobs)
    return answers, answers


async def _decidable(session: Session, limit: int) -> Sequence[Waiting]:
    numbers = [row[0] for row in await session.all("decidable", limit)]
    awaited = await _awaited(session, numbers) if numbers else {}
    tasks = await session.all("first_tasks", numbers) if numbers else ()
    return rows.waiting(tasks, awaited)


async def _awaited(session: Session, numbers: Sequence[int]) -> Mapping[str, tuple[Awaited, ...]]:
    return rows.awaited(await session.all("awaited_of", numbers))
