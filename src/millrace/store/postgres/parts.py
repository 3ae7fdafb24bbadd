"""Jobs that were split, on PostgreSQL: what each request does within its transaction."""

from collections.abc import Sequence

from millrace.domain.ids import job_of
from millrace.domain.parts import may_hedge
from millrace.domain.records import Hedge, Job, Split, Standing
from millrace.store import rows
from millrace.store.postgres.arriving import await_input
from millrace.store.postgres.connection import Session
from millrace.store.postgres.moves import follow, move_all


async def split(session: Session, asked: Split) -> bool:
    move = asked.move
    key = rows.position_of(move.task_id)
    if key is None or key[1] != 1:
        return False
    standing = await session.all("lock_tasks", key[0])
    if not standing or standing[0][1] is not None or not (await move_all(session, [move]))[0]:
        return False
    job = standing[0][0]
    (first,) = await session.one("next_position", job)
    await session.run("mark_split", job, asked.class_id)
    await session.run("keep_plan", job, rows.to_text(asked.plan))
    kinds, numbers, frames = zip(*((part.kind.value, part.number, part.frames) for part in asked.parts), strict=True)
    await session.run("add_parts", job, first, kinds, numbers, frames)
    for position, part in enumerate(asked.parts, first):
        if part.awaits:
            await await_input(session, job, position, 0, asked.wait_of(part))
    await session.run("add_part_tasks", job, first)
    await session.run("add_part_transitions", job, first, rows.storable(move.reason), move.actor)
    session.queued.add(asked.class_id)
    await follow(session, move)
    return True


async def hedge(session: Session, asked: Hedge) -> bool:
    key = rows.position_of(asked.task_id)
    standing = [] if key is None else await session.all("lock_tasks", key[0])
    found = [rows.task(row) for row in await session.all("tasks", job_of(asked.task_id))] if standing else []
    if key is None or not found or not may_hedge(found, asked):
        return False
    job, position = standing[0][0], len(found) + 1
    await session.run("add_hedge_part", job, position, key[1])
    await session.run("add_hedge", job, position, key[1])
    await session.run("add_part_transitions", job, position, rows.storable(asked.reason), asked.actor)
    session.changed = True
    session.queued.add(found[0].class_id)
    return True


async def under_way_in_parts(session: Session, limit: int) -> Sequence[str]:
    return [job_id for (job_id,) in await session.all("under_way_in_parts", limit)]


async def standings(session: Session, job_id: str) -> Sequence[Standing]:
    row = await session.one("number_of_job", job_id)
    return [] if row is None else [rows.standing(one) for one in await session.all("standings", [row[0]])]


async def with_progress(session: Session, jobs: Sequence[Job]) -> tuple[Job, ...]:
    """The same jobs, those that were split with the progress of all their tasks."""
    numbers = [job.number for job in jobs if job.is_split]
    return rows.with_progress(jobs, await session.all("standings", numbers) if numbers else ())


async def ended_splits(session: Session, limit: int) -> Sequence[tuple[str, int]]:
    return [(job_id, last) for job_id, last in await session.all("ended_splits", limit)]


async def forget_pieces(session: Session, job_id: str, last: int) -> None:
    await session.run("forget_plan", job_id, last)
    await session.run("forget_pieces", job_id, last)
