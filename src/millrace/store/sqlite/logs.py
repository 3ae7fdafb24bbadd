"""Logs of attempts on SQLite: what each request does within its transaction."""

from millrace.store import rows
from millrace.store.sqlite.connection import Session


def _job_of(session: Session, task_id: str, attempt: int) -> tuple[int, int] | None:
    """The number of the attempt's job and the task's position; None for an attempt that never was."""
    key = rows.position_of(task_id)
    row = None if key is None else session.one("attempt_of_log", *key, attempt)
    return None if key is None or row is None else (row[0], key[1])


def append_log(session: Session, task_id: str, attempt: int, offset: int, data: bytes) -> int | None:
    key = _job_of(session, task_id, attempt)
    if key is None:
        return None
    row = session.one("log_end", *key, attempt)
    end = 0 if row is None else int(row[0])
    fresh = data[end - offset :] if offset <= end else b""
    if fresh:
        session.run("add_log_chunk", *key, attempt, end, fresh)
    return end + len(fresh)


def read_log(session: Session, task_id: str, attempt: int, offset: int, limit: int) -> bytes | None:
    key = _job_of(session, task_id, attempt)
    if key is None:
        return None
    chunks = session.all("read_log", *key, attempt, offset, offset + limit)
    return rows.cut(chunks, offset, limit)
