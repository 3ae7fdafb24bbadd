"""Jobs on SQLite: what each request does within its transaction."""

from collections.abc import Mapping, Sequence

from millrace.domain.needs import Needs
from millrace.domain.records import ACCEPTED, Attempt, Document, Job, NewJob, Output, Transition
from millrace.domain.states import State
from millrace.domain.tenants import over_for_job
from millrace.store import rows
from millrace.store.pages import page_statement
from millrace.store.sqlite import parts as part_units
from millrace.store.sqlite import tenants
from millrace.store.sqlite.access import number_of
from millrace.store.sqlite.arriving import await_input
from millrace.store.sqlite.connection import QUERIES, Session
from millrace.store.sqlite.dependencies import add_dependencies
from millrace.store.store import Added, JobFilter, JobPage

_BEYOND = 2**62  # above every number


def class_of(session: Session, digest: str, needs: Needs) -> int:
    session.run("add_class", digest, rows.to_text(needs.to_document()))
    found = session.one("class_id", digest)
    if found is None:
        raise AssertionError("a requirement class vanished within a transaction")
    return int(found[0])


def classes(session: Session, after: int) -> Sequence[tuple[int, Needs]]:
    return [(number, rows.needs(text)) for number, text in session.all("classes", after)]


def add_jobs(session: Session, jobs: Sequence[NewJob]) -> Sequence[Added]:
    return [_add_job(session, job) for job in jobs]


def _add_job(session: Session, job: NewJob) -> Added:
    if job.idempotency_key is not None:
        known = session.one("known_key", job.tenant, job.idempotency_key)
        if known is not None:
            return _known(known, job)
    limited = tenants.counted(session, job.tenant)
    over = None if limited is None else over_for_job(*limited, keeps=job.keeps)
    if over is not None:
        return Added(id=job.id, number=0, state=job.state, created_at=session.now, refused=over)
    now = session.now_ms
    due_at = None if job.due_at is None else rows.to_ms(job.due_at)
    number = session.insert(
        "add_job", job.id, job.tenant, job.queue, job.priority, job.classification, rows.to_text(job.labels), job.profile,
        job.max_retries, job.timeout_s, job.state, now, due_at,
    )  # fmt: skip
    session.run("add_spec", number, rows.to_text(job.spec))
    turn = tenants.placed(session, job)
    line = job.head_start_ms if turn.opens else None
    lane = "" if limited is None else tenants.accepted(session, job.tenant, limited)
    session.run("add_task", number, job.class_id, turn.rank, job.max_retries, job.state, now, due_at, lane, line)
    cursor = session.insert("add_transition", number, 1, None, job.state, now, ACCEPTED, 0, job.actor)
    session.changed = True
    if job.idempotency_key is not None:
        session.run("add_key", job.tenant, job.idempotency_key, job.body_digest or "", number)
    if job.after:
        add_dependencies(session, number, job)
    if job.awaits is not None:
        await_input(session, number, 1, 0, job.awaits)
        session.run("set_own_class", number, job.own_class_id)
    if job.state is State.QUEUED:
        session.queue(job.class_id)
    return Added(id=job.id, number=number, state=job.state, created_at=session.now, cursor=str(cursor))


def _known(row: rows.Row, job: NewJob) -> Added:
    digest, known_id, number, state, created_at = row
    same = digest == (job.body_digest or "")
    return Added(
        id=known_id, number=number, state=State(state), created_at=rows.to_datetime(created_at), repeated=same,
        conflict=not same,
    )  # fmt: skip


def job(session: Session, ref: str | int) -> Job | None:
    number = ref if isinstance(ref, int) else number_of(session, ref)
    # SQLite integers have 64 bits; a larger number is no job's.
    row = session.one("job_by_number", number) if 0 < number < _BEYOND else None
    return None if row is None else part_units.with_progress(session, [rows.job(row)])[0]


def jobs(session: Session, only: JobFilter, below: int | None, limit: int) -> JobPage:
    statement, values = page_statement(QUERIES, "?", only)
    # One more than asked for tells whether there is a next page.
    numbers = [row[0] for row in session.all_of(statement, below or _BEYOND, limit + 1, *values)]
    listed = [rows.job(row) for row in session.all("jobs_by_numbers", rows.to_text(numbers[:limit]))]
    found = part_units.with_progress(session, listed)
    more = len(numbers) > limit and found
    return JobPage(jobs=found, next_cursor=str(found[-1].number) if more else None)


def count_jobs(session: Session) -> Mapping[State, int]:
    return {State(state): count for state, count in session.all("count_jobs")}


def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    return [rows.attempt(row) for row in session.all("attempts", number_of(session, job_id))]


def outputs(session: Session, job_id: str) -> Sequence[Output]:
    return [rows.output(row) for row in session.all("outputs", number_of(session, job_id))]


def facts(session: Session, job_id: str) -> Document | None:
    row = session.one("facts", number_of(session, job_id))
    return None if row is None else rows.document(row[0])


def transitions(session: Session, job_id: str) -> Sequence[Transition]:
    return [rows.transition(row) for row in session.all("transitions", number_of(session, job_id))]


def events(session: Session, after: int, limit: int, job_id: str | None, tenant: str | None) -> Sequence[Transition]:
    if job_id is not None:
        found = session.all("events_of_job", after, limit, number_of(session, job_id))
    elif tenant is not None:
        found = session.all("events_of_tenant", after, limit, tenant)
    else:
        found = session.all("events", after, limit)
    return [rows.transition(row) for row in found]


def last_cursor(session: Session) -> str | None:
    row = session.one("last_cursor")
    return None if row is None or row[0] is None else str(row[0])


def delete_finished(session: Session, before_ms: int, limit: int) -> Sequence[str]:
    session.run("forget_turns", before_ms)
    for name, size in session.all("stored_by_old", before_ms, limit):
        tenants.changed(session, name, stored=-size)
    return [row[0] for row in session.all("delete_finished", before_ms, limit)]
