"""Logs of attempts on PostgreSQL: what each request does within its transaction."""

from millrace.store import rows
from millrace.store.postgres.connection import Session
from millrace.store.postgres.errors import AgainError


async def _job_of(session: Session, task_id: str, attempt: int) -> tuple[int, int] | None:
    """The number of the attempt's job and the task's position; None for an attempt that never was."""
    key = rows.position_of(task_id)
    row = None if key is None else await session.one("attempt_of_log", *key, attempt)
    return None if key is None or row is None else (row[0], key[1])


async def append_log(session: Session, task_id: str, attempt: int, offset: int, data: bytes) -> int | None:
    key = await _job_of(session, task_id, attempt)
    if key is None:
        return None
    row = await session.one("log_end", *key, attempt)
    end = 0 if row is None else int(row[0])
    fresh = data[end - offset :] if offset <= end else b""
    if fresh and await session.one("add_log_chunk", *key, attempt, end, fresh) is None:
        raise AgainError("another request wrote this part of the log meanwhile")
    return end + len(fresh)


async def read_log(session: Session, task_id: str, attempt: int, offset: int, limit: int) -> bytes | None:
    key = await _job_of(session, task_id, attempt)
    if key is None:
        return None
    return rows.cut(await session.all("read_log", *key, attempt, offset, offset + limit), offset, limit)
