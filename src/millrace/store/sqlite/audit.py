"""The audit trail on SQLite: what each request does within its transaction."""

from collections.abc import Sequence

from millrace.domain.chain import Block, Head, follow, oldest_kept
from millrace.store import rows
from millrace.store.sqlite.connection import Session


def add_audit(session: Session, block_id: bytes, body: bytes) -> None:
    if session.one("has_audit_block", block_id) is not None:
        return
    head = rows.head(session.one("lock_audit_head"))
    block = follow(head, at_ms=session.now_ms, block_id=block_id, body=body)
    session.run("add_audit_block", block.number, block.at_ms, block.id, block.body, block.before, block.seal)
    session.run("move_audit_head", block.number, block.seal)


def audit_head(session: Session) -> Head:
    return rows.head(session.one("audit_head"))


def audit_after(session: Session, number: int, limit: int) -> Sequence[Block]:
    return [rows.block(row) for row in session.all("audit_blocks_after", number, limit)]


def audit_before(session: Session, number: int, limit: int) -> Sequence[Block]:
    return [rows.block(row) for row in session.all("audit_blocks_before", number, limit)]


def forget_audit(session: Session, before_ms: int, limit: int) -> None:
    head = rows.head(session.one("lock_audit_head"))
    oldest = oldest_kept(head, session.all("audit_times", head.oldest, limit), before_ms)
    if oldest > head.oldest:
        session.run("forget_audit_blocks", oldest)
        session.run("move_audit_oldest", oldest)
