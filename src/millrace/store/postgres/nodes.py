"""Nodes and leases on PostgreSQL: what each request does within its transaction."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from millrace.domain.records import Beat, NewNode, Node, NodeState, Report
from millrace.store import rows
from millrace.store.postgres.connection import Session


class Heartbeat(Struct, frozen=True, kw_only=True):
    """One heartbeat of one node."""

    node_id: str
    epoch: int
    ttl_s: float
    reports: Sequence[Report]


async def register(session: Session, node: NewNode) -> Node:
    row = await session.one(
        "add_node", node.id, node.fingerprint, node.boot_id, node.name, node.slots, round(node.ttl_s * 1000)
    )
    await session.run("keep_node_facts", row[0], rows.to_text(node.labels), rows.to_text(node.facts))
    return rows.node(await session.one("node", row[0]))


async def heartbeats(session: Session, beats: Sequence[Heartbeat]) -> Sequence[Beat | None]:
    """All that wait: one statement for the leases, one for the progress, two to read."""
    alive = {
        row[0]
        for row in await session.all(
            "heartbeats", list(range(len(beats))), [beat.node_id for beat in beats], [beat.epoch for beat in beats],
            [round(beat.ttl_s * 1000) for beat in beats], session.now_ms,
        )
    }  # fmt: skip
    await _keep_progress(session, [beat for place, beat in enumerate(beats) if place in alive])
    ids = sorted({beats[place].node_id for place in alive})
    nodes = {row[0]: rows.node(row) for row in await session.all("nodes_by_id", ids)}
    held = [rows.task(row) for row in await session.all("held", ids)]
    return [
        Beat(
            node=nodes[beat.node_id],
            held=tuple(task for task in held if (task.node_id, task.node_epoch) == (beat.node_id, beat.epoch)),
        )
        if place in alive
        else None
        for place, beat in enumerate(beats)
    ]


async def _keep_progress(session: Session, beats: Iterable[Heartbeat]) -> None:
    # The newest report of an attempt wins: one statement cannot write a row twice.
    table = {}
    for beat in beats:
        for report in beat.reports:
            key, progress = rows.position_of(report.task_id), report.progress
            if key is not None:
                table[(*key, report.attempt, beat.node_id, beat.epoch)] = (
                    progress.fraction, rows.storable(progress.phase), progress.frame, progress.fps, progress.speed,
                    progress.eta_s,
                )  # fmt: skip
    if table:
        lines = [(*key, *values) for key, values in table.items()]
        await session.run("keep_progress", *map(list, zip(*lines, strict=True)), session.now_ms)


async def nodes(session: Session) -> Sequence[Node]:
    return [rows.node(row) for row in await session.all("nodes")]


async def node(session: Session, ref: str) -> Node | None:
    row = await session.one("node", ref)
    if row is None and (named := await session.one("node_named", ref)) is not None:
        row = await session.one("node", named[0])
    return None if row is None else rows.node(row)


async def set_node_state(session: Session, node_id: str, target: NodeState, sources: Iterable[NodeState]) -> bool:
    return await session.one("set_node_state", node_id, target.value, [source.value for source in sources]) is not None


async def remove_node(session: Session, node_id: str) -> bool:
    # A claim holds the same lock until it is committed, so that none slips in between the look and the removal.
    await session.run("lock_nodes", [node_id])
    return await session.one("remove_node", node_id) is not None


async def expire_leases(session: Session, limit: int) -> Sequence[Node]:
    ids = [row[0] for row in await session.all("expire_leases", limit)]
    return [rows.node(row) for row in await session.all("nodes_by_id", ids)]
