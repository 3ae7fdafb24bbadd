"""Nodes and leases on SQLite: what each request does within its transaction."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from millrace.domain.records import Beat, NewNode, Node, NodeState, Report
from millrace.store import rows
from millrace.store.sqlite.connection import Session


def register(session: Session, node: NewNode) -> Node | None:
    lease_until = session.now_ms + round(node.ttl_s * 1000)
    row = session.one(
        "add_node", node.id, node.fingerprint, node.boot_id, node.name, node.slots, session.now_ms, lease_until
    )  # fmt: skip
    if row is None:
        return None
    session.run(
        "keep_node_facts", row[0], rows.to_text(node.labels), rows.to_text(node.facts), node.key_id, node.boot_id, session.now_ms
    )  # fmt: skip
    return _node(session, row[0])


def _node(session: Session, node_id: str) -> Node:
    row = session.one("node", node_id)
    if row is None:
        raise AssertionError("a node vanished within a transaction")
    return rows.node(row)


def heartbeat(session: Session, node_id: str, epoch: int, ttl_s: float, reports: Sequence[Report]) -> Beat | None:
    lease_until = session.now_ms + round(ttl_s * 1000)
    if session.one("heartbeat", node_id, epoch, session.now_ms, lease_until) is None:
        return None
    for report in reports:
        key = rows.position_of(report.task_id)
        if key is None:
            continue
        progress = report.progress
        session.run(
            "keep_progress", *key, report.attempt, node_id, epoch, progress.fraction, rows.storable(progress.phase),
            progress.frame, progress.fps, progress.speed, progress.eta_s, session.now_ms,
        )  # fmt: skip
    held = tuple(rows.task(row) for row in session.all("held", node_id, epoch))
    return Beat(node=replace(_node(session, node_id), quarantine=None), held=held)


def nodes(session: Session) -> Sequence[Node]:
    return [rows.node(row) for row in session.all("nodes")]


def node(session: Session, ref: str) -> Node | None:
    row = session.one("node", ref)
    if row is None and (named := session.one("node_named", ref)) is not None:
        row = session.one("node", named[0])
    return None if row is None else rows.node(row)


def set_node_state(session: Session, node_id: str, target: NodeState, sources: Iterable[NodeState]) -> bool:
    texts = rows.to_text(sorted(source.value for source in sources))
    return session.one("set_node_state", node_id, target.value, texts) is not None


def remove_node(session: Session, node_id: str) -> bool:
    if session.one("remove_node", node_id) is None:
        return False
    session.run("end_keys_of_node", node_id, session.now_ms)
    return True


def clock_was_set_back(session: Session, by_ms: int, ttl_ms: int) -> None:
    session.run("shorten_leases", session.now_ms + ttl_ms)
    session.run("retry_sooner", by_ms)


def expire_leases(session: Session, limit: int) -> Sequence[Node]:
    return [_node(session, row[0]) for row in session.all("expire_leases", session.now_ms, limit)]
