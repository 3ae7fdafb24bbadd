"""What counts against nodes, and their quarantine, on PostgreSQL: what each request does within its transaction."""

from millrace.domain.failures import Failure
from millrace.domain.quarantine import DAY_S, SPAN_S, NodeRecord
from millrace.store import rows
from millrace.store.postgres.connection import Session

_NEWEST = 500
"""Of the jobs that ended, so many of the newest are looked at, however many the farm runs in an hour."""


async def add_blame(session: Session, node_id: str, job_id: str, failure: Failure) -> None:
    await session.run("forget_blames", round(DAY_S * 1000))
    message = rows.storable(failure.message)
    await session.run("add_blame", node_id, job_id, failure.failure_class.value, message)


async def node_record(session: Session, node_id: str) -> NodeRecord:
    since = (await session.all("counting_since", node_id, round(SPAN_S * 1000), _NEWEST))[0][0]
    completed = (await session.all("completed_by", node_id, since, _NEWEST))[0][0]
    times = await session.one("quarantined_times", node_id, round(DAY_S * 1000))
    blames = tuple(rows.blame(row) for row in await session.all("blames", node_id, since))
    return NodeRecord(blames=blames, completed=completed, quarantines=0 if times is None else times[0])


async def quarantine(session: Session, node_id: str, reason: str, proof_after_s: float, times: int) -> bool:
    done = await session.one("quarantine_node", node_id, rows.storable(reason), round(proof_after_s * 1000), times)
    await session.run("take_out_node", node_id)
    return done is not None


async def release(session: Session, node_id: str) -> bool:
    done = await session.one("release_node", node_id)
    await session.run("take_in_node", node_id)
    return done is not None
