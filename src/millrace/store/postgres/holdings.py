"""What workers may read and what they have sent, on PostgreSQL: what each request does within its transaction."""

from collections.abc import Mapping

from millrace.store import rows
from millrace.store.postgres.connection import Session
from millrace.store.store import Arrival


async def holds_input(session: Session, location: str, node_id: str | None, key_id: str) -> bool:
    row = await session.one("holds_input", node_id, key_id, location)
    return row is not None and bool(row[0])


async def key_of_node(session: Session, node_id: str) -> str | None:
    row = await session.one("key_of_node", node_id)
    return None if row is None else row[0]


async def keep_arrival(session: Session, task_id: str, attempt: int, name: str, arrival: Arrival) -> None:
    key = rows.position_of(task_id)
    if key is not None:
        await session.run("keep_arrival", *key, attempt, name, arrival.sha256, arrival.size)


async def arrivals(session: Session, task_id: str, attempt: int) -> Mapping[str, Arrival]:
    key = rows.position_of(task_id)
    found = [] if key is None else await session.all("arrivals", *key, attempt)
    return {name: Arrival(sha256=sha256, size=size) for name, sha256, size in found}


async def forget_arrivals(session: Session, job_id: str) -> None:
    await session.run("forget_arrivals", job_id)
