"""Tenants on PostgreSQL: what each request does within its transaction."""

from collections.abc import Sequence

from millrace.domain.tenants import Over, Rules, Tenant, over_for_bytes
from millrace.store import rows
from millrace.store.postgres.connection import Session


async def tenant(session: Session, name: str) -> Tenant | None:
    row = await session.one("tenant", name)
    return None if row is None else rows.tenant(row)


async def tenants(session: Session) -> Sequence[Tenant]:
    found = [await tenant(session, row[0]) for row in await session.all("tenant_names")]
    return [one for one in found if one is not None]


async def set_tenant(session: Session, name: str, rules: Rules, by_default: bool) -> Tenant:
    await session.run("close_counts")
    before = await tenant(session, name)
    quotas = rules.quotas
    await session.run(
        "set_tenant", name, by_default, quotas.concurrent, quotas.queued, quotas.per_day, quotas.storage_bytes,
        rows.to_text(rules.inputs), rows.to_text(rules.outputs), rules.weight,
    )  # fmt: skip
    after = await tenant(session, name)
    if after is None:
        raise AssertionError("a tenant vanished within a transaction")
    was = None if before is None else before.rules.quotas.concurrent
    bounded = after.rules.quotas.concurrent is not None
    if before is None or (was is None) == bounded:
        await session.run("set_lane", name, name if bounded else "")
        await session.run("count_anew", name)
    return await tenant(session, name) or after


async def remove_tenant(session: Session, name: str) -> bool:
    await session.run("close_counts")
    gone = await session.one("remove_tenant", name) is not None
    if gone:
        await session.run("set_lane", name, "")
    return gone


async def add_upload(session: Session, upload_id: str, name: str, size: int) -> Over | None:
    found = await session.one("counts", name, 0)
    over = None if found is None else over_for_bytes(*rows.counts(found), size)
    if over is None:
        await session.run("add_upload", upload_id, name, size)
        await session.run("count_stored", name, size)
    return over


async def release_upload(session: Session, upload_id: str) -> None:
    for name, size in await session.all("release_upload", upload_id):
        await session.run("count_stored", name, -size)


async def release_uploads(session: Session, below: str) -> None:
    sizes: dict[str, int] = {}
    for name, size in await session.all("release_uploads", below):
        sizes[name] = sizes.get(name, 0) + size
    for name in sorted(sizes):
        await session.run("count_stored", name, -sizes[name])
