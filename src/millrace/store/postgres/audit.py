"""The audit trail on PostgreSQL: what each request does within its transaction."""

from collections.abc import Sequence

from millrace.domain.chain import Block, Head, follow, oldest_kept
from millrace.store import rows
from millrace.store.postgres.connection import Session


async def add_audit(session: Session, block_id: bytes, body: bytes) -> None:
    # Whoever has the head is alone, so that what it then reads is what the one before has written.
    locked = await session.one("lock_audit_head")
    if await session.one("has_audit_block", block_id) is not None:
        return
    block = follow(rows.head(locked), at_ms=locked[3], block_id=block_id, body=body)
    await session.run("add_audit_block", block.number, block.at_ms, block.id, block.body, block.before, block.seal)
    await session.run("move_audit_head", block.number, block.seal)


async def audit_head(session: Session) -> Head:
    return rows.head(await session.one("audit_head"))


async def audit_after(session: Session, number: int, limit: int) -> Sequence[Block]:
    return [rows.block(row) for row in await session.all("audit_blocks_after", number, limit)]


async def audit_before(session: Session, number: int, limit: int) -> Sequence[Block]:
    return [rows.block(row) for row in await session.all("audit_blocks_before", number, limit)]


async def forget_audit(session: Session, before_ms: int, limit: int) -> None:
    head = rows.head(await session.one("lock_audit_head"))
    oldest = oldest_kept(head, await session.all("audit_times", head.oldest, limit), before_ms)
    if oldest > head.oldest:
        await session.run("forget_audit_blocks", oldest)
        await session.run("move_audit_oldest", oldest)
