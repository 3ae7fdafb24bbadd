"""Jobs that were split, on SQLite: what each request does within its transaction."""

from collections.abc import Sequence

from millrace.domain.ids import job_of
from millrace.domain.parts import follow_up, may_hedge
from millrace.domain.records import Hedge, Job, Split, Standing
from millrace.store import rows
from millrace.store.sqlite import work
from millrace.store.sqlite.arriving import await_input
from millrace.store.sqlite.connection import Session


def split(session: Session, asked: Split) -> bool:
    move = asked.move
    lead = work.task(session, move.task_id)
    key = rows.position_of(move.task_id)
    if lead is None or lead.split is not None or key is None or key[1] != 1 or not work.move_all(session, [move])[0]:
        return False
    (job,) = session.one("number_of_job", key[0]) or (0,)
    (first,) = session.one("next_position", job) or (2,)
    session.run("mark_split", job, asked.class_id)
    session.run("keep_plan", job, rows.to_text(asked.plan))
    session.run("add_parts", job, first, rows.to_text([[part.kind, part.number, part.frames] for part in asked.parts]))
    for position, part in enumerate(asked.parts, first):
        if part.awaits:
            await_input(session, job, position, 0, asked.wait_of(part))
    session.run("add_part_tasks", job, first, session.now_ms)
    session.run("add_part_transitions", job, first, session.now_ms, rows.storable(move.reason), move.actor)
    session.run("show_split", job)
    session.queue(asked.class_id)
    for following in follow_up(work.tasks(session, key[0]), move):
        work.move_all(session, [following])
    return True


def hedge(session: Session, asked: Hedge) -> bool:
    key = rows.position_of(asked.task_id)
    found = work.tasks(session, job_of(asked.task_id))
    if key is None or not found or not may_hedge(found, asked):
        return False
    (job,) = session.one("number_of_job", key[0]) or (0,)
    position = len(found) + 1
    session.run("add_hedge_part", job, position, key[1])
    session.run("add_hedge", job, position, key[1], session.now_ms)
    session.run("add_part_transitions", job, position, session.now_ms, rows.storable(asked.reason), asked.actor)
    session.changed = True
    session.queue(found[0].class_id)
    return True


def under_way_in_parts(session: Session, limit: int) -> Sequence[str]:
    return [job_id for (job_id,) in session.all("under_way_in_parts", limit)]


def standings(session: Session, job_id: str) -> Sequence[Standing]:
    row = session.one("number_of_job", job_id)
    return [] if row is None else [rows.standing(one) for one in session.all("standings", rows.to_text([row[0]]))]


def with_progress(session: Session, jobs: Sequence[Job]) -> tuple[Job, ...]:
    """The same jobs, those that were split with the progress of all their tasks."""
    numbers = [job.number for job in jobs if job.is_split]
    return rows.with_progress(jobs, session.all("standings", rows.to_text(numbers)) if numbers else ())


def ended_splits(session: Session, limit: int) -> Sequence[tuple[str, int]]:
    return [(job_id, last) for job_id, last in session.all("ended_splits", limit)]


def forget_pieces(session: Session, job_id: str, last: int) -> None:
    session.run("forget_plan", job_id, last)
    session.run("forget_pieces", job_id, last)
