"""Masters on SQLite: what each request does within its transaction."""

from millrace.domain.masters import Attendance, Presence
from millrace.store import rows
from millrace.store.migrate import load_migrations, newest_of
from millrace.store.sqlite.connection import Session
from millrace.store.sqlite.schema import PACKAGE


def attend(session: Session, master: Presence, ttl_ms: int) -> Attendance:
    now_ms = session.now_ms
    session.run("see_master", master.id, master.name, master.version, newest_of(load_migrations(PACKAGE)), now_ms)
    session.run("forget_masters", now_ms - ttl_ms * rows.MASTERS_KEPT_TTLS)
    session.run("take_term", master.id, ttl_ms, now_ms)
    return attendance(session, ttl_ms)


def attendance(session: Session, ttl_ms: int) -> Attendance:
    leader = session.one("leader", session.now_ms)
    return rows.attendance(leader, session.all("masters_seen", session.now_ms - ttl_ms))


def masters_behind(session: Session, ttl_ms: int) -> int:
    row = session.one("masters_behind", session.now_ms - ttl_ms, newest_of(load_migrations(PACKAGE)))
    return 0 if row is None else int(row[0])


def leave(session: Session, master_id: str) -> None:
    session.run("end_term", master_id)
    session.run("remove_master", master_id)
