"""Jobs on PostgreSQL: what each request does within its transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from millrace.domain.needs import Needs
from millrace.domain.records import ACCEPTED, Attempt, Document, Job, NewJob, Output, Transition
from millrace.domain.states import State
from millrace.store import rows
from millrace.store.pages import page_statement
from millrace.store.postgres.connection import QUERIES, AgainError, Session
from millrace.store.store import Added, JobFilter, JobPage

_BEYOND = 2**62  # above every number


async def class_of(session: Session, digest: str, needs: Needs) -> int:
    await session.run("add_class", digest, rows.to_text(needs.to_document()))
    found = await session.one("class_id", digest)
    return int(found[0])


async def classes(session: Session, after: int) -> Sequence[tuple[int, Needs]]:
    return [(number, rows.needs(text)) for number, text in await session.all("classes", after)]


async def add_jobs(session: Session, calls: Sequence[Sequence[NewJob]]) -> Sequence[Sequence[Added]]:
    """Several calls at once."""
    jobs = [job for call in calls for job in call]
    known = await _known_keys(session, jobs)
    places = _first_of_each_key([(place, job) for place, job in enumerate(jobs) if _key(job) not in known])
    numbers = [row[0] for row in await session.all("new_numbers", len(places))] if places else []
    lost = await _add_keys(session, [(number, jobs[place]) for number, place in zip(numbers, places, strict=True)])
    new = {place: number for number, place in zip(numbers, places, strict=True) if number not in lost}
    cursors: dict[int, str] = {}
    if new:
        columns = _columns(session.now_ms, [(number, jobs[place]) for place, number in new.items()])
        cursors = dict(await session.all("add_jobs", *columns, session.now_ms, ACCEPTED))
        session.changed = True
        session.queued.update(jobs[place].class_id for place in new if jobs[place].state is State.QUEUED)
    late = [job for place, job in enumerate(jobs) if place not in new and _key(job) not in known]
    known |= await _known_keys(session, late)
    if any(_key(job) not in known for job in late):
        raise AgainError("a job was deleted while its idempotency key was looked up")
    answers = iter([_answer(session.now_ms, new.get(place), job, known, cursors) for place, job in enumerate(jobs)])
    return [[next(answers) for _ in call] for call in calls]


def _key(job: NewJob) -> tuple[str, str | None]:
    return (job.tenant, job.idempotency_key)


def _first_of_each_key(placed: Sequence[tuple[int, NewJob]]) -> list[int]:
    """The places of jobs without a key, and of the first with each key: the others will find that one known."""
    seen: set[tuple[str, str | None]] = set()
    first = []
    for place, job in placed:
        if job.idempotency_key is None or _key(job) not in seen:
            first.append(place)
        seen.add(_key(job))
    return first


async def _add_keys(session: Session, numbered: Sequence[tuple[int, NewJob]]) -> set[int]:
    """Claim the idempotency keys; returns the numbers whose key a rival has claimed meanwhile."""
    keyed = [
        (job.tenant, job.idempotency_key, job.body_digest or "", number)
        for number, job in numbered
        if job.idempotency_key is not None
    ]
    if not keyed:
        return set()
    added = await session.all("add_keys", *map(list, zip(*keyed, strict=True)))
    return {key[3] for key in keyed} - {row[0] for row in added}


async def _known_keys(session: Session, jobs: Sequence[NewJob]) -> dict[tuple[str, str | None], Any]:
    keyed = [_key(job) for job in jobs if job.idempotency_key is not None]
    if not keyed:
        return {}
    found = await session.all("known_keys", *map(list, zip(*keyed, strict=True)))
    return {(row[0], row[1]): row[2:] for row in found}


def _answer(
    now_ms: int,
    number: int | None,
    job: NewJob,
    known: Mapping[tuple[str, str | None], Any],
    cursors: Mapping[int, str],
) -> Added:
    if number is not None:
        created_at = rows.to_datetime(now_ms)
        return Added(id=job.id, number=number, state=job.state, created_at=created_at, cursor=cursors[number])
    digest, known_id, known_number, state, created_at = known[_key(job)]
    same = digest == (job.body_digest or "")
    return Added(
        id=known_id, number=known_number, state=State(state), created_at=rows.to_datetime(created_at), repeated=same,
        conflict=not same,
    )  # fmt: skip


def _columns(now_ms: int, numbered: Sequence[tuple[int, NewJob]]) -> list[list[Any]]:
    """The arrays of the statement `add_jobs`."""
    table = [
        (
            number, job.id, job.tenant, job.queue.value, job.priority.value,
            None if job.classification is None else job.classification.value, rows.to_text(job.labels), job.profile,
            job.max_retries, job.timeout_s, job.state.value, None if job.due_at is None else rows.to_ms(job.due_at),
            rows.to_text(job.spec), job.class_id, now_ms - job.head_start_ms, job.actor,
        )
        for number, job in numbered
    ]  # fmt: skip
    return [list(column) for column in zip(*table, strict=True)]


async def number_of(session: Session, job_id: str) -> int:
    """The job's number; 0, which is no job's, where it is unknown."""
    found = await session.one("number_of_job", job_id)
    return 0 if found is None else int(found[0])


async def job(session: Session, ref: str | int) -> Job | None:
    number = ref if isinstance(ref, int) else await number_of(session, ref)
    # A number has 64 bits; a larger one is no job's.
    row = await session.one("job_by_number", number) if 0 < number < _BEYOND else None
    return None if row is None else rows.job(row)


async def jobs(session: Session, only: JobFilter, below: int | None, limit: int) -> JobPage:
    statement, values = page_statement(QUERIES, "$", only)
    # One more than asked for tells whether there is a next page.
    numbers = [row[0] for row in await session.all_of(statement, below or _BEYOND, limit + 1, *values)]
    found = tuple(rows.job(row) for row in await session.all("jobs_by_numbers", numbers[:limit]))
    more = len(numbers) > limit and found
    return JobPage(jobs=found, next_cursor=str(found[-1].number) if more else None)


async def count_jobs(session: Session) -> Mapping[State, int]:
    return {State(state): count for state, count in await session.all("count_jobs")}


async def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    return [rows.attempt(row) for row in await session.all("attempts", await number_of(session, job_id))]


async def outputs(session: Session, job_id: str) -> Sequence[Output]:
    return [rows.output(row) for row in await session.all("outputs", await number_of(session, job_id))]


async def facts(session: Session, job_id: str) -> Document | None:
    row = await session.one("facts", await number_of(session, job_id))
    return None if row is None else rows.document(row[0])


async def transitions(session: Session, job_id: str) -> Sequence[Transition]:
    return [rows.transition(row) for row in await session.all("transitions", await number_of(session, job_id))]


async def events(session: Session, after: tuple[int, int], limit: int, job_id: str | None) -> Sequence[Transition]:
    place = (str(after[0]), after[1], limit)
    if job_id is None:
        found = await session.all("events", *place)
    else:
        found = await session.all("events_of_job", *place, await number_of(session, job_id))
    return [rows.transition(row) for row in found]


async def last_cursor(session: Session) -> str | None:
    row = await session.one("last_cursor")
    return None if row is None else str(row[0])


async def delete_finished(session: Session, before_ms: int, limit: int) -> Sequence[str]:
    return [row[0] for row in await session.all("delete_finished", before_ms, limit)]
