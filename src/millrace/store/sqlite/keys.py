"""API keys on SQLite: what each request does within its transaction."""

from collections.abc import Collection, Sequence

from millrace.domain.keys import ApiKey, NewKey
from millrace.store import rows
from millrace.store.sqlite.connection import Session


def _maybe(row: rows.Row | None) -> ApiKey | None:
    return None if row is None else rows.api_key(row)


def add_key(session: Session, key: NewKey) -> ApiKey | None:
    session.run("end_expired_name", key.name, session.now_ms)
    lasts_ms = None if key.lasts_s is None else round(key.lasts_s * 1000)
    return _maybe(
        session.one(
            "add_api_key", key.id, key.name, key.role.value, key.tenant, key.digest, key.hint, lasts_ms, session.now_ms
        )
    )


def keys(session: Session, ended: bool) -> Sequence[ApiKey]:
    return [
        rows.api_key(row) for row in (session.all("all_keys") if ended else session.all("live_keys", session.now_ms))
    ]


def key(session: Session, ref: str) -> ApiKey | None:
    return _maybe(session.one("key", ref) or session.one("key_named", ref, session.now_ms))


def live_key(session: Session, mark: bytes | str) -> ApiKey | None:
    name = "live_key_by_id" if isinstance(mark, str) else "live_key_by_digest"
    return _maybe(session.one(name, mark, session.now_ms))


def rotate_key(session: Session, key_id: str, digest: bytes, hint: str, grace_s: float) -> ApiKey | None:
    return _maybe(session.one("rotate_key", key_id, digest, hint, round(grace_s * 1000), session.now_ms))


def revoke_key(session: Session, key_id: str) -> ApiKey | None:
    return _maybe(session.one("revoke_key", key_id, session.now_ms))


def delete_ended_keys(session: Session, before_ms: int, limit: int) -> int:
    return session.changed_rows("delete_ended_keys", before_ms, limit)


def note_keys_used(session: Session, key_ids: Collection[str]) -> None:
    session.run("note_keys_used", rows.to_text(sorted(key_ids)), session.now_ms)
