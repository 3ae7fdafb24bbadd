"""Masters on PostgreSQL."""

from millrace.domain.masters import Attendance, Presence
from millrace.store import rows
from millrace.store.migrate import load_migrations, missing, newest_of
from millrace.store.postgres.connection import Session
from millrace.store.postgres.schema import PACKAGE


async def attend(session: Session, master: Presence, ttl_ms: int) -> Attendance:
    """Raises SchemaTooNewError where this master cannot work on the database any more."""
    # The term comes last: its row is what masters wait for each other at.
    await session.run("see_master", master.id, master.name, master.version, newest_of(load_migrations(PACKAGE)))
    # Whoever takes away what we need either saw us, or has done it by now: also while we stood still.
    missing({row[0]: row[1] for row in await session.all("applied_migrations")}, load_migrations(PACKAGE))
    await session.run("forget_masters", ttl_ms * rows.MASTERS_KEPT_TTLS)
    await session.run("take_term", master.id, ttl_ms)
    return await attendance(session, ttl_ms)


async def attendance(session: Session, ttl_ms: int) -> Attendance:
    return rows.attendance(await session.one("leader"), await session.all("masters_seen", ttl_ms))


async def masters_behind(session: Session, ttl_ms: int) -> int:
    row = await session.one("masters_behind", ttl_ms, newest_of(load_migrations(PACKAGE)))
    return int(row[0])


async def leave(session: Session, master_id: str) -> None:
    await session.run("remove_master", master_id)
    await session.run("end_term", master_id)
