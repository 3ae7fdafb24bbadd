"""API keys on PostgreSQL: what each request does within its transaction."""

from collections.abc import Collection, Sequence

from millrace.domain.keys import ApiKey, NewKey
from millrace.store import rows
from millrace.store.postgres.connection import Session


def _maybe(row: rows.Row | None) -> ApiKey | None:
    return None if row is None else rows.api_key(row)


async def add_key(session: Session, key: NewKey) -> ApiKey | None:
    await session.run("end_expired_name", key.name)
    lasts_ms = None if key.lasts_s is None else round(key.lasts_s * 1000)
    return _maybe(
        await session.one("add_api_key", key.id, key.name, key.role.value, key.tenant, key.digest, key.hint, lasts_ms)
    )


async def keys(session: Session, ended: bool) -> Sequence[ApiKey]:
    return [rows.api_key(row) for row in await session.all("all_keys" if ended else "live_keys")]


async def key(session: Session, ref: str) -> ApiKey | None:
    return _maybe(await session.one("key", ref) or await session.one("key_named", ref))


async def live_key(session: Session, mark: bytes | str) -> ApiKey | None:
    return _maybe(await session.one("live_key_by_id" if isinstance(mark, str) else "live_key_by_digest", mark))


async def rotate_key(session: Session, key_id: str, digest: bytes, hint: str, grace_s: float) -> ApiKey | None:
    return _maybe(await session.one("rotate_key", key_id, digest, hint, round(grace_s * 1000)))


async def revoke_key(session: Session, key_id: str) -> ApiKey | None:
    return _maybe(await session.one("revoke_key", key_id))


async def delete_ended_keys(session: Session, before_ms: int, limit: int) -> int:
    return len(await session.all("delete_ended_keys", before_ms, limit))


async def note_keys_used(session: Session, key_ids: Collection[str]) -> None:
    await session.run("note_keys_used", sorted(key_ids))
