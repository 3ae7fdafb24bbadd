"""Machines that join, on PostgreSQL: what each request does within its transaction."""

from datetime import datetime

from millrace.domain.invitations import Enrolment, NewInvitation
from millrace.domain.keys import ApiKey
from millrace.store import rows
from millrace.store.postgres import keys
from millrace.store.postgres.connection import Session
from millrace.store.postgres.errors import AgainError


async def add_invitation(session: Session, new: NewInvitation) -> datetime:
    await session.run("forget_invitations")
    row = await session.one("add_invitation", new.digest, new.by, round(new.lasts_s * 1000))
    return rows.to_datetime(row[0])


async def is_invited(session: Session, token: bytes, public: bytes) -> bool:
    return await session.one("live_invitation", token, public) is not None


async def enrol(session: Session, new: Enrolment) -> ApiKey | None:
    taken = await session.one("take_invitation", new.token, new.public, new.key_id)
    if taken is None:
        return None
    if taken[0] != new.key_id:
        return await keys.rotate_key(session, taken[0], new.digest, new.hint, 0)
    before = await session.one("end_key_of_fingerprint", new.fingerprint)
    known = await session.one("node_of_fingerprint", new.fingerprint) or before or (new.node_id,)
    row = await session.one("add_key_of_node", new.key_id, known[0], new.digest, new.hint, new.fingerprint)
    if row is None:
        raise AgainError("another machine joins under this fingerprint")
    return rows.api_key(row)


async def expel(session: Session, node_id: str) -> None:
    await session.run("end_keys_of_node", node_id)
    await session.run("expel_node", node_id)


async def note_authority(session: Session, fingerprint: str, replace: bool) -> str:
    await session.run("replace_authority" if replace else "note_authority", fingerprint)
    return await authority(session) or fingerprint


async def authority(session: Session) -> str | None:
    row = await session.one("authority")
    return None if row is None else str(row[0])
