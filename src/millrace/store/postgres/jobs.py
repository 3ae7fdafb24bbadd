"""Jobs on PostgreSQL: what each request does within its transaction."""

from collections.abc import Mapping, Sequence

from millrace.domain.needs import Needs
from millrace.domain.records import ACCEPTED, Attempt, Document, Job, NewJob, Output, Transition
from millrace.domain.states import State
from millrace.domain.tenants import nearest, over_for_job
from millrace.domain.turns import AHEAD_MS
from millrace.store import rows
from millrace.store.pages import page_statement
from millrace.store.postgres import parts as part_units
from millrace.store.postgres.access import number_of
from millrace.store.postgres.connection import QUERIES, Session
from millrace.store.store import Added, JobFilter, JobPage, StoreError

_BEYOND = 2**62  # above every number
_LOOKS = 4


async def class_of(session: Session, digest: str, needs: Needs) -> int:
    await session.run("add_class", digest, rows.to_text(needs.to_document()))
    found = await session.one("class_id", digest)
    return int(found[0])


async def classes(session: Session, after: int) -> Sequence[tuple[int, Needs]]:
    return [(number, rows.needs(text)) for number, text in await session.all("classes", after)]


_PLACED = QUERIES["placed"].format(ahead_ms=AHEAD_MS)
_ADD = {
    keyed: QUERIES["add_jobs"].format(
        accepted=QUERIES["accept_new" if keyed else "accept_all"].format(
            refused=QUERIES["refused"].format(asked="fresh" if keyed else "asked"), placed=_PLACED
        )
    )
    for keyed in (False, True)
}


async def add_jobs(session: Session, calls: Sequence[Sequence[NewJob]]) -> Sequence[Sequence[Added] | Exception]:
    """Several calls at once; an error where a key's job was deleted again and again while it was looked up."""
    jobs = [job for call in calls for job in call]
    answers: list[Added | None] = [None] * len(jobs)
    for _ in range(_LOOKS):
        todo = [place for place, answer in enumerate(answers) if answer is None]
        if not todo:
            break
        refused = await _add(session, jobs, _first_of_each_key(jobs, todo), answers)
        await _meet_again(session, jobs, [place for place in todo if answers[place] is None], answers)
        # Only now: a rival may have taken the last room of the tenant for the very job that has the key.
        for place, answer in refused.items():
            answers[place] = answers[place] or answer
    by_call = iter(answers)
    found = [[next(by_call) for _ in call] for call in calls]
    return [_whole(call) for call in found]


def _whole(call: Sequence[Added | None]) -> Sequence[Added] | Exception:
    whole = [one for one in call if one is not None]
    if len(whole) == len(call):
        return whole
    return StoreError("cannot add the job: others with its idempotency key came and went; try again")


def _first_of_each_key(jobs: Sequence[NewJob], places: Sequence[int]) -> list[int]:
    """The places of jobs without a key, and of the first with each key: the others will find that one known."""
    seen: set[tuple[str, str]] = set()
    first = []
    for place in places:
        job = jobs[place]
        if job.idempotency_key is None:
            first.append(place)
        elif (key := (job.tenant, job.idempotency_key)) not in seen:
            seen.add(key)
            first.append(place)
    return first


async def _add(
    session: Session, jobs: Sequence[NewJob], places: Sequence[int], answers: list[Added | None]
) -> dict[int, Added]:
    """Store those whose keys are new and whose tenants have room; the answers to those without, by place."""
    refused: dict[int, Added] = {}
    keyed = any(jobs[place].idempotency_key is not None for place in places)
    turns: dict[tuple[str, int, int], int] = {}
    table = []
    for place in places:
        job = jobs[place]
        line = (job.tenant, job.class_id, job.head_start_ms)
        turn = turns[line] = turns.get(line, -1) + 1
        table.append((*_line(job), job.keeps, turn))
    for ord_, number, now_ms, cursor, *limits in await session.alone(
        _ADD[keyed], *map(list, zip(*table, strict=True)), ACCEPTED
    ):
        place = places[ord_ - 1]
        job = jobs[place]
        if number is None:
            refused[place] = _refused(job, now_ms, limits)
            continue
        answers[place] = Added(
            id=job.id, number=number, state=job.state, created_at=rows.to_datetime(now_ms), cursor=cursor
        )
        session.changed = True
        if job.state is State.QUEUED:
            session.queued.add(job.class_id)
    return refused


def _refused(job: NewJob, now_ms: int, limits: Sequence[int | None]) -> Added:
    """The answer to a job for which its tenant has no room; others of its batch took the last of it, perhaps."""
    *most, queued, accepted, stored = limits
    quotas, use = rows.counts((*most, 0, queued, accepted, stored))
    over = over_for_job(quotas, use, keeps=job.keeps) or nearest(quotas, use)
    return Added(id=job.id, number=0, state=job.state, created_at=rows.to_datetime(now_ms), refused=over)


def _line(job: NewJob) -> tuple[object, ...]:
    """One place of each array of the statement `add_jobs`."""
    return (
        job.id, job.tenant, job.queue.value, job.priority.value,
        None if job.classification is None else job.classification.value, rows.to_text(job.labels), job.profile,
        job.max_retries, job.timeout_s, job.state.value, None if job.due_at is None else rows.to_ms(job.due_at),
        rows.to_text(job.spec), job.class_id, job.head_start_ms, job.actor, job.idempotency_key,
        None if job.idempotency_key is None else job.body_digest or "",
    )  # fmt: skip


async def _meet_again(
    session: Session, jobs: Sequence[NewJob], places: Sequence[int], answers: list[Added | None]
) -> None:
    """Answer with the jobs that have the keys already."""
    places = [place for place in places if jobs[place].idempotency_key is not None]
    if not places:
        return
    wanted = [jobs[place] for place in places]
    found = await session.all("known_keys", [job.tenant for job in wanted], [job.idempotency_key for job in wanted])
    for ord_, digest, job_id, number, state, created_at in found:
        same = digest == (wanted[ord_ - 1].body_digest or "")
        answers[places[ord_ - 1]] = Added(
            id=job_id, number=number, state=State(state), created_at=rows.to_datetime(created_at), repeated=same,
            conflict=not same,
        )  # fmt: skip


async def job(session: Session, ref: str | int) -> Job | None:
    number = ref if isinstance(ref, int) else await number_of(session, ref)
    # A number has 64 bits; a larger one is no job's.
    row = await session.one("job_by_number", number) if 0 < number < _BEYOND else None
    return None if row is None else (await part_units.with_progress(session, [rows.job(row)]))[0]


async def jobs(session: Session, only: JobFilter, below: int | None, limit: int) -> JobPage:
    statement, values = page_statement(QUERIES, "$", only)
    # One more than asked for tells whether there is a next page.
    numbers = [row[0] for row in await session.all_of(statement, below or _BEYOND, limit + 1, *values)]
    listed = [rows.job(row) for row in await session.all("jobs_by_numbers", numbers[:limit])]
    found = await part_units.with_progress(session, listed)
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


async def events(
    session: Session, after: tuple[int, int], limit: int, job_id: str | None, tenant: str | None
) -> Sequence[Transition]:
    place = (str(after[0]), after[1], limit)
    if job_id is not None:
        found = await session.all("events_of_job", *place, await number_of(session, job_id))
    elif tenant is not None:
        found = await session.all("events_of_tenant", *place, tenant)
    else:
        found = await session.all("events", *place)
    return [rows.transition(row) for row in found]


async def last_cursor(session: Session) -> str | None:
    row = await session.one("last_cursor")
    return None if row is None else str(row[0])


async def delete_finished(session: Session, before_ms: int, limit: int) -> Sequence[str]:
    await session.run("forget_turns", before_ms)
    return [row[0] for row in await session.all("delete_finished", before_ms, limit)]
