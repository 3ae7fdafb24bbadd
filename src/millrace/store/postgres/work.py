"""Tasks on PostgreSQL: reading them, and what waits for its time."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from millrace.domain.records import Task
from millrace.store import rows
from millrace.store.postgres.connection import Session


async def tasks(session: Session, job_id: str) -> Sequence[Task]:
    return [rows.task(row) for row in await session.all("tasks", job_id)]


async def task(session: Session, task_id: str) -> Task | None:
    key = rows.position_of(task_id)
    row = None if key is None else await session.one("task", *key)
    return None if row is None else rows.task(row)


async def due(session: Session, limit: int) -> Sequence[Task]:
    return [rows.task(row) for row in await session.all("due", limit)]


async def next_due(session: Session) -> datetime | None:
    row = await session.one("next_due")
    return None if row is None or row[0] is None else rows.to_datetime(row[0])


async def orphans(session: Session, limit: int) -> Sequence[Task]:
    return [rows.task(row) for row in await session.all("orphans", limit)]


async def left_by(session: Session, node_id: str, epoch: int, limit: int) -> Sequence[Task]:
    return [rows.task(row) for row in await session.all("left_by", node_id, epoch, limit)]


async def queued_classes(session: Session) -> Mapping[int, datetime]:
    found = await session.all("queued_classes")
    return {number: rows.to_datetime(since) for number, since in found if since is not None}


async def queued(session: Session, class_id: int, limit: int) -> Sequence[Task]:
    return [rows.task(row) for row in await session.all("queued", class_id, limit)]
