"""Tenants on SQLite: what each request does within its transaction, and what the hot verbs count."""

from collections.abc import Sequence

from millrace.domain.records import NewJob
from millrace.domain.tenants import DAY_MS, Over, Quotas, Rules, Tenant, Use, over_for_bytes
from millrace.domain.turns import Last, Place, Turn, place
from millrace.store import rows
from millrace.store.sqlite.connection import Session


def counted(session: Session, name: str) -> tuple[Quotas, Use] | None:
    """The limits and the use of a tenant; None where there is no record of it. Read once for all requests of a transaction."""
    if name not in session.counted:
        row = session.one("counts", name, session.now_ms // DAY_MS)
        session.counted[name] = None if row is None else rows.counts(row)
    return session.counted[name]


def accepted(session: Session, name: str, found: tuple[Quotas, Use]) -> str:
    """Count a new job; returns its lane."""
    session.run("count_accepted", name, session.now_ms // DAY_MS)
    del session.counted[name]
    return lane_of(name, found)


def lane_of(name: str, found: tuple[Quotas, Use] | None) -> str:
    """The lane of a tenant's tasks."""
    return name if found is not None and found[0].concurrent is not None else ""


def changed(session: Session, name: str, *, running: int = 0, queued: int = 0, stored: int = 0) -> None:
    """Change the counts of a tenant by so much."""
    if counted(session, name) is not None:
        session.run("count_moved", name, running, queued, stored)
        del session.counted[name]
        session.lanes = None


def lanes(session: Session) -> dict[str, int | None]:
    """The lanes that tasks may be taken from, each with how many (None: any number)."""
    if session.lanes is None:
        session.lanes = {"": None, **dict(session.all("lanes"))}
    return session.lanes


def taken(session: Session, lane: str) -> None:
    """Count a task that was taken from a lane."""
    if lane:
        session.run("count_moved", lane, 1, 0, 0)
        session.counted.pop(lane, None)
        session.lanes = None


def placed(session: Session, job: NewJob) -> Place:
    """Where a new job goes in its line."""
    key = (job.class_id, job.head_start_ms)
    if key not in session.lines:
        row = session.one("newest_turn", *key)
        session.lines[key] = None if row is None else Turn(*row)
    newest = session.lines[key]
    alone = newest is None or newest.tenant == job.tenant
    row = None if alone else session.one("following_turn", *key, job.tenant)
    weight = _weights(session).get(job.tenant, 1)
    found = place(
        job.tenant,
        session.now_ms - job.head_start_ms,
        newest,
        None if row is None else row[0],
        weight=weight,
        last=None if weight == 1 else _last(session, key, job.tenant, newest),
    )
    if newest is not None and not alone and found.opens:
        session.run("keep_turn", *key, newest.tenant, newest.rank, 1)
    if not found.opens or weight > 1:
        session.run("keep_turn", *key, job.tenant, found.rank, found.taken)
    if found.opens and job.state == "queued":
        session.lines[key] = Turn(found.rank, job.tenant)
    return found


def _weights(session: Session) -> dict[str, int]:
    """Tenants that have more than one place in each of their turns. Read once for all requests of a transaction."""
    if session.weights is None:
        session.weights = dict(session.all("weights"))
    return session.weights


def _last(session: Session, line: tuple[int, int], name: str, newest: Turn | None) -> Last | None:
    row = session.one("last_turn", *line, name)
    if row is None:
        return None
    rank, taken, goes_on = row
    # Who opened the newest turn while it had one place in each has no more in the one before.
    passed = newest is not None and newest.tenant == name and rank < newest.rank
    return Last(rank, taken, over=passed or not goes_on)


def tenant(session: Session, name: str) -> Tenant | None:
    row = session.one("tenant", name, session.now_ms // DAY_MS)
    return None if row is None else rows.tenant(row)


def tenants(session: Session) -> Sequence[Tenant]:
    found = (tenant(session, row[0]) for row in session.all("tenant_names"))
    return [one for one in found if one is not None]


def set_tenant(session: Session, name: str, rules: Rules, by_default: bool) -> Tenant:
    before = tenant(session, name)
    quotas = rules.quotas
    session.run(
        "set_tenant", name, by_default, quotas.concurrent, quotas.queued, quotas.per_day, quotas.storage_bytes,
        rows.to_text(rules.inputs), rows.to_text(rules.outputs), session.now_ms, rules.weight,
    )  # fmt: skip
    after = tenant(session, name)
    if after is None:
        raise AssertionError("a tenant vanished within a transaction")
    was = None if before is None else before.rules.quotas.concurrent
    bounded = after.rules.quotas.concurrent is not None
    if before is None or (was is None) == bounded:
        day = session.now_ms // DAY_MS
        session.run("set_lane", name, name if bounded else "")
        session.run("count_anew", name, day, day * DAY_MS)
    _forget(session)
    return tenant(session, name) or after


def remove_tenant(session: Session, name: str) -> bool:
    gone = session.one("remove_tenant", name) is not None
    if gone:
        session.run("set_lane", name, "")
        _forget(session)
    return gone


def _forget(session: Session) -> None:
    session.counted.clear()
    session.heads.clear()
    session.dry.clear()
    session.lanes = session.weights = None


def add_upload(session: Session, upload_id: str, name: str, size: int) -> Over | None:
    found = counted(session, name)
    over = None if found is None else over_for_bytes(*found, size)
    if over is None:
        session.run("add_upload", upload_id, name, size)
        _count_stored(session, name, size)
    return over


def release_upload(session: Session, upload_id: str) -> None:
    for name, size in session.all("release_upload", upload_id):
        _count_stored(session, name, -size)


def release_uploads(session: Session, below: str) -> None:
    for name, size in session.all("release_uploads", below):
        _count_stored(session, name, -size)


def _count_stored(session: Session, name: str, size: int) -> None:
    session.run("count_stored", name, size)
    session.counted.pop(name, None)
