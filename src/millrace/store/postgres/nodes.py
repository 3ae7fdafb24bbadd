"""Nodes and leases on PostgreSQL: what each request does within its transaction."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from millrace.domain.records import Beat, NewNode, Node, NodeState, Report, Task
from millrace.store import rows
from millrace.store.postgres.combiner import turns
from millrace.store.postgres.connection import QUERIES, Session
from millrace.store.postgres.errors import AgainError, persist


class Heartbeat(Struct, frozen=True, kw_only=True):
    """One heartbeat of one node."""

    node_id: str
    epoch: int
    ttl_s: float
    reports: Sequence[Report]


async def register_all(session: Session, asked: Sequence[NewNode]) -> Sequence[Node | None]:
    """The node of each, or None where another worker lives under its identity; one after another where one identity asks again."""
    found: list[Node | None] = [None] * len(asked)
    for places in turns((one.fingerprint, place) for place, one in enumerate(asked)):
        met = await _register(session, [asked[place] for place in places])
        for place in places:
            found[place] = met.get(asked[place].fingerprint)
    return found


async def _register(session: Session, asked: Sequence[NewNode]) -> dict[str, Node]:
    """Those that were let in, by their fingerprints, of which none comes twice."""
    ids = dict(await session.all("add_nodes", *zip(*(
        (one.id, one.fingerprint, one.boot_id, one.name, one.slots, round(one.ttl_s * 1000)) for one in asked
    ), strict=True)))  # fmt: skip
    if not ids:
        return {}
    await session.run("keep_facts_of_nodes", *zip(*(
        (ids[one.fingerprint], rows.to_text(one.labels), rows.to_text(one.facts), one.key_id, one.boot_id)
        for one in asked
        if one.fingerprint in ids
    ), strict=True))  # fmt: skip
    met = [rows.node(row) for row in await session.all("node", list(ids.values()))]
    return {one.fingerprint: one for one in met}


_HEARTBEATS = {
    kept: QUERIES["heartbeats"].format(progress=QUERIES["keep_progress"] if kept else "") for kept in (False, True)
}


async def heartbeats(session: Session, beats: Sequence[Heartbeat]) -> Sequence[Beat | None]:
    """All that wait: one statement for the leases and the progress, one to read what the nodes hold."""
    met = {row[0]: rows.node(row) for row in await persist(lambda: _beat(session, beats))}
    held: dict[tuple[str | None, int | None], list[Task]] = {}
    for row in await session.all("held", list(met)) if any(one.holding for one in met.values()) else ():
        task = rows.task(row)
        held.setdefault((task.node_id, task.node_epoch), []).append(task)
    return [
        Beat(node=one, held=tuple(held.get((one.id, one.epoch), ())))
        if (one := met.get(beat.node_id)) is not None and one.epoch == beat.epoch
        else None
        for beat in beats
    ]


async def _beat(session: Session, beats: Sequence[Heartbeat]) -> Sequence[rows.Row]:
    """The nodes whose leases were extended."""
    ordered = sorted(beats, key=lambda beat: (beat.node_id, beat.epoch))
    reports = _reports(ordered)
    found = await session.alone(
        _HEARTBEATS[bool(reports)], [beat.node_id for beat in ordered], [beat.epoch for beat in ordered],
        [round(beat.ttl_s * 1000) for beat in ordered], *reports,
    )  # fmt: skip
    if any(row[1] is None for row in found):
        raise AgainError("another master changed a node meanwhile")
    return found


def _reports(beats: Sequence[Heartbeat]) -> list[list[object]]:
    """The arrays of the statement `keep_progress`; empty where there is nothing to keep."""
    # The newest report of an attempt wins: one statement cannot write a row twice.
    table: dict[tuple[str, int, int, str, int], tuple[object, ...]] = {}
    for place, beat in enumerate(beats, start=1):
        for report in beat.reports:
            key, progress = rows.position_of(report.task_id), report.progress
            if key is not None:
                table[(*key, report.attempt, beat.node_id, beat.epoch)] = (
                    place, *key, report.attempt, progress.fraction, rows.storable(progress.phase), progress.frame,
                    progress.fps, progress.speed, progress.eta_s,
                )  # fmt: skip
    # In one order, so that two batches cannot wait for each other.
    return [list(column) for column in zip(*(table[key] for key in sorted(table)), strict=True)]


async def nodes(session: Session) -> Sequence[Node]:
    return [rows.node(row) for row in await session.all("nodes")]


async def node(session: Session, ref: str) -> Node | None:
    row = await session.one("node", [ref])
    if row is None and (named := await session.one("node_named", ref)) is not None:
        row = await session.one("node", [named[0]])
    return None if row is None else rows.node(row)


async def set_node_state(session: Session, node_id: str, target: NodeState, sources: Iterable[NodeState]) -> bool:
    return await session.one("set_node_state", node_id, target.value, [source.value for source in sources]) is not None


async def remove_node(session: Session, node_id: str) -> bool:
    # So that no claim slips in between the look and the removal.
    await session.run("close_gate")
    if await session.one("remove_node", node_id) is None:
        return False
    await session.run("end_keys_of_node", node_id)
    return True


async def clock_was_set_back(session: Session, by_ms: int, ttl_ms: int) -> None:
    await session.run("shorten_leases", ttl_ms)
    await session.run("retry_sooner", by_ms)


async def expire_leases(session: Session, limit: int) -> Sequence[Node]:
    ids = [row[0] for row in await session.all("expire_leases", limit)]
    return [rows.node(row) for row in await session.all("nodes_by_id", ids)]
