"""What this master was told is done, and whether a database still has it.

A standby that is promoted without having had every commit forgets what was answered already (an asynchronous one; see
docs/decisions/0032-postgresql.md). PostgreSQL itself tells that somebody was promoted: the number of the timeline grows. So
a master keeps the last of its answers in memory, and looks for them before it works on another timeline.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import asyncpg
from msgspec import Struct

from millrace.domain.records import Claimed, Move
from millrace.store import rows
from millrace.store.queries import load_queries
from millrace.store.store import Added, StoreUnavailableError
from millrace.telemetry.logs import logger

log = logger("store")
QUERIES = load_queries("millrace.store.postgres")
KEPT = 64
"""A commit is before another one in the log of PostgreSQL if it was answered before it, but for those under way at the same
moment; so a few more than there may be of these tell as much as all."""
KEPT_S = 3600.0
"""Older ones may have been deleted by the rules of the farm; no standby lags by so much while it is promoted."""
LOST = "it was promoted without what was answered as done; the master's log says more"
OUTDATED = "another server was promoted in its place"


class Identity(Struct, frozen=True):
    """Which cluster a server is one of, and how often one of them was promoted."""

    system: str
    timeline: int


class Evidence(Struct, frozen=True):
    """One thing that is done: a job accepted (attempt 0), an attempt given to a node, or one that ended."""

    job_id: str
    position: int = 1
    attempt: int = 0
    node_id: str = ""
    ended: bool = False


def of_jobs(answers: Sequence[Sequence[Added] | Exception]) -> Evidence | None:
    """The last job that is kept."""
    kept = [
        one
        for call in answers
        if not isinstance(call, Exception)
        for one in call
        if not one.conflict and one.refused is None
    ]
    return Evidence(kept[-1].id) if kept else None


def of_claimed(node_ids: Sequence[str], answers: Sequence[Sequence[Claimed] | None]) -> Evidence | None:
    """The last attempt that was given."""
    for node_id, given in zip(reversed(node_ids), reversed(answers), strict=True):
        if given and (key := rows.position_of(given[-1].task_id)) is not None:
            return Evidence(*key, given[-1].attempt, node_id)
    return None


def of_ended(moves: Sequence[Move], done: Sequence[bool]) -> Evidence | None:
    """The last attempt of a node that ended."""
    for move, happened in zip(reversed(moves), reversed(done), strict=True):
        if happened and move.outcome is not None and move.attempt is not None and move.node_id is not None:
            key = rows.position_of(move.task_id)
            return Evidence(*key, move.attempt, move.node_id, ended=True) if key is not None else None
    return None


class History:
    """What one master knows to be done, on which database."""

    def __init__(self, *, may_lose: bool) -> None:
        """`may_lose`: go on where some of it is missing."""
        self._may_lose = may_lose
        self._known: Identity | None = None
        self._done: deque[tuple[float, Evidence]] = deque(maxlen=KEPT)

    def note(self, evidence: Evidence | None) -> None:
        """This was answered."""
        if evidence is not None:
            self._done.append((time.monotonic(), evidence))

    async def check(self, connection: Any) -> None:
        """Look whether this is the database that was meant all the time, or one that follows on it.

        Raises:
            StoreUnavailableError: it is neither.
        """
        found = await _identity(connection)
        known = self._known
        if found is None or found == known:
            return
        if known is not None:
            if found.system == known.system and found.timeline < known.timeline:
                raise _refused(f"it is on timeline {found.timeline}, and {known.timeline} was seen", OUTDATED)
            await self._compare(connection, known, found)
        self._known = found

    async def _compare(self, connection: Any, known: Identity, found: Identity) -> None:
        since = time.monotonic() - KEPT_S
        wanted = [one for at, one in self._done if at >= since]
        lines = [(one.job_id, one.position, one.attempt, one.node_id, one.ended) for one in wanted]
        missing = (
            await connection.fetchval(QUERIES["count_missing"], *map(list, zip(*lines, strict=True))) if lines else 0
        )
        if missing and not self._may_lose:
            text = (
                f"it lacks {missing} of the last {len(wanted)} things that this master has answered as done (timeline"
                f" {known.timeline} to {found.timeline}); bring the former primary back, or start the masters anew to go on"
                " without them"
            )
            raise _refused(text, LOST)
        told = log.warning if missing else log.info
        told("store.another_primary", timeline=found.timeline, lost=missing, of=len(wanted))


def _refused(text: str, why: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"cannot use this PostgreSQL: {text}", why=why)


async def _identity(connection: Any) -> Identity | None:
    """None where this user may not ask."""
    try:
        system, timeline = await connection.fetchrow(QUERIES["identity"])
    except asyncpg.InsufficientPrivilegeError:
        return None
    return Identity(system, timeline)
