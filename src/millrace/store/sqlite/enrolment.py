"""Machines that join, on SQLite: what each request does within its transaction."""

from datetime import datetime

from millrace.domain.invitations import Enrolment, NewInvitation
from millrace.domain.keys import ApiKey
from millrace.store import rows
from millrace.store.sqlite import keys
from millrace.store.sqlite.connection import Session


def add_invitation(session: Session, new: NewInvitation) -> datetime:
    session.run("forget_invitations", session.now_ms)
    row = session.one("add_invitation", new.digest, new.by, round(new.lasts_s * 1000), session.now_ms)
    if row is None:
        raise AssertionError("an insert without a row")
    return rows.to_datetime(row[0])


def is_invited(session: Session, token: bytes, public: bytes) -> bool:
    return session.one("live_invitation", token, public, session.now_ms) is not None


def enrol(session: Session, new: Enrolment) -> ApiKey | None:
    taken = session.one("take_invitation", new.token, new.public, new.key_id, session.now_ms)
    if taken is None:
        return None
    if taken[0] != new.key_id:
        return keys.rotate_key(session, taken[0], new.digest, new.hint, 0)
    before = session.one("end_key_of_fingerprint", new.fingerprint, session.now_ms)
    known = session.one("node_of_fingerprint", new.fingerprint) or before or (new.node_id,)
    row = session.one("add_key_of_node", new.key_id, known[0], new.digest, new.hint, new.fingerprint, session.now_ms)
    if row is None:
        raise AssertionError("a node has a key under another fingerprint")
    return rows.api_key(row)


def expel(session: Session, node_id: str) -> None:
    session.run("end_keys_of_node", node_id, session.now_ms)
    session.run("expel_node", node_id)


def note_authority(session: Session, fingerprint: str, replace: bool) -> str:
    session.run("replace_authority" if replace else "note_authority", fingerprint)
    return authority(session) or fingerprint


def authority(session: Session) -> str | None:
    row = session.one("authority")
    return None if row is None else str(row[0])
