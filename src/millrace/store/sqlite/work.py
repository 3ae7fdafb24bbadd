"""Claims and moves on SQLite: what each request does within its transaction."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from millrace.domain.elsewhere import AVOID_S
from millrace.domain.ids import job_of
from millrace.domain.parts import follow_up
from millrace.domain.records import Claimed, Move, Task
from millrace.domain.sessions import Allowance
from millrace.domain.states import FINAL, HELD, State, job_state
from millrace.domain.tenants import over_for_retry
from millrace.store import rows
from millrace.store.sqlite import tenants
from millrace.store.sqlite.connection import Rows, Session

_HEAD = 32
"""Tasks read from the head of a class at once."""

_AVOIDS = 4
"""Where the row of a task at the head says what it avoids."""

_WAITS = frozenset({State.PENDING, State.RETRYING, State.PAUSED})
"""States in which a task may be due at a moment."""


def claim(
    session: Session,
    *,
    node_id: str,
    epoch: int,
    request_id: str,
    classes: Sequence[int],
    limit: int,
    allowance: Allowance | None = None,
) -> Sequence[Claimed] | None:
    standing = session.all("claim_node", node_id, epoch, request_id)
    if not standing or standing[0][1] != "ready":
        return None
    if standing[0][2] is not None:
        return _held(session, standing)
    seats = min(limit, _free(session, node_id))
    if seats <= 0:
        return None
    if allowance is not None:
        seats, classes = 1, allowance.fitting(classes, _held_classes(session, node_id, epoch))
    return _give(
        session, standing[0][0], node_id=node_id, epoch=epoch, request_id=request_id, classes=classes, limit=seats
    )


def move_and_claim(
    session: Session,
    move: Move,
    *,
    epoch: int,
    request_id: str,
    classes: Sequence[int],
    limit: int,
    allowance: Allowance | None = None,
) -> Sequence[Claimed] | None:
    standing = session.all("claim_node", move.node_id, epoch, request_id)
    found = _guarded(session, move) if standing else None
    if found is None or move.node_id is None:
        return None
    if allowance is not None:
        leaves = (found.job, found.position) if found.release else (0, 0)
        limit, classes = 1, allowance.fitting(classes, _held_classes(session, move.node_id, epoch, *leaves))
    # First the claim, so that what is handed back does not come straight back.
    given: Sequence[Claimed] = []
    if standing[0][1] == "ready":
        repeated = [row for row in standing if row[2] is not None and row[3:5] != (found.job, found.position)]
        if repeated:
            given = _held(session, repeated)
        else:
            given = _give(
                session,
                standing[0][0],
                node_id=move.node_id,
                epoch=epoch,
                request_id=request_id,
                classes=classes,
                limit=_seats(session, move.node_id, limit, leaves=found.release and found.epoch == epoch),
            )
    _make(session, move, found)
    return given


def _free(session: Session, node_id: str) -> int:
    row = session.one("free_slots", node_id)
    return 0 if row is None else int(row[0])


def _held_classes(session: Session, node_id: str, epoch: int, job: int = 0, position: int = 0) -> list[int]:
    """The classes of what the node holds, one of its tasks left out."""
    return [class_id for (class_id,) in session.all("held_classes", node_id, epoch, job, position)]


def _seats(session: Session, node_id: str, limit: int, *, leaves: bool) -> int:
    """How many tasks a report's claim may be given. One takes the slot that the report leaves, and nothing has to be counted."""
    return 1 if leaves and limit == 1 else min(limit, _free(session, node_id) + leaves)


def _held(session: Session, standing: Rows) -> Sequence[Claimed]:
    """What a request that comes again was given before, as far as the node still holds it."""
    tasks_ = sorted(row[2:] for row in standing)
    return [_claimed(session, job, position, attempt) for _, job, position, attempt in tasks_]


def _give(
    session: Session, node_name: str, *, node_id: str, epoch: int, request_id: str, classes: Sequence[int], limit: int
) -> Sequence[Claimed]:
    given: list[Claimed] = []
    now = session.now_ms
    while len(given) < limit and (head := _take_head(session, classes, limit - len(given), node_id)) is not None:
        (_, job, position, attempt), lane = head
        if not session.changed_rows("claim_task", job, position, attempt, node_id, epoch, request_id, now):
            continue  # another request of this transaction moved it after its class was read
        attempt += 1
        session.run("claim_attempt", job, position, attempt, node_id, node_name, request_id, now)
        if position == 1:
            session.run("claim_job", job, now)
        session.run("add_transition", job, position, "queued", "assigned", now, "claimed", attempt, node_id)
        session.changed = True
        tenants.taken(session, lane)
        given.append(_claimed(session, job, position, attempt))
    return given


def _take_head(
    session: Session, classes: Sequence[int], wanted: int, node_id: str
) -> tuple[tuple[int, int, int, int], str] | None:
    """The task of lowest rank (rank, job, position, attempt) among the classes' heads in the open lanes, and its lane.

    Heads are read once for many claims of a transaction. What becomes runnable meanwhile makes `Session.queue` forget its
    class's heads.
    """
    best: deque[tuple[Any, ...]] | None = None
    of = ""
    heads, dry = session.heads, session.dry
    for lane in session.lanes or tenants.lanes(session):
        for class_id in classes:
            key = (class_id, lane)
            head = heads.get(key)
            if not head and key not in dry:
                head = _read_head(session, key, max(wanted, _HEAD))
            if head and (best is None or head[0] < best[0]):
                best, of = head, lane
    if best is None:
        return None
    if best[0][_AVOIDS] is not None:
        return _take_willing(session, classes, node_id)
    rank, job, position, attempt, _ = best.popleft()
    return (rank, job, position, attempt), of


def _read_head(session: Session, key: tuple[int, str], wanted: int) -> deque[tuple[Any, ...]]:
    found = session.all("claim_next", *key, wanted)
    if len(found) < wanted:
        session.dry.add(key)
    head = session.heads[key] = deque(found)
    return head


def _take_willing(
    session: Session, classes: Sequence[int], node_id: str
) -> tuple[tuple[int, int, int, int], str] | None:
    """The same where that task avoids some node, which is rare: the first that does not avoid this one.

    It stays among the heads, where the guard of the claim passes it over.
    """
    since = session.now_ms - round(AVOID_S * 1000)
    found = []
    for lane in tenants.lanes(session):
        for class_id in classes:
            row = session.one("claim_next_for", class_id, lane, node_id, since)
            if row is not None:
                rank, job, position, attempt = row
                found.append(((rank, job, position, attempt), lane))
    return min(found, default=None)


def _claimed(session: Session, job: int, position: int, attempt: int) -> Claimed:
    (row,) = session.all("claimed", job, position)
    return rows.claimed(position, attempt, row)


def move_all(session: Session, moves: Sequence[Move]) -> Sequence[bool]:
    return [_move(session, move) for move in moves]


class _Found(NamedTuple):
    """The task of a move whose guard holds."""

    job: int
    position: int
    source: str
    attempt: int
    class_id: int
    release: bool
    epoch: int | None
    tenant: str
    lane: str
    held: bool
    stored: int
    split: int | None
    divided: bool  # before the move


def _move(session: Session, move: Move) -> bool:
    found = _guarded(session, move)
    if found is not None:
        _make(session, move, found)
    return found is not None


def _guarded(session: Session, move: Move) -> _Found | None:
    """The task of a move, if the guard of the move holds; of class that it has after it."""
    key = rows.position_of(move.task_id)
    found = None if key is None else session.one("move_find", *key)
    if key is None or found is None:
        return None
    job, source, attempt, node_id, class_id, epoch, tenant, lane, stored, split, own_class = found
    release = move.release or move.target not in HELD
    if (
        source not in move.sources
        or (move.attempt is not None and move.attempt != attempt)
        or (move.node_id is not None and move.node_id != node_id)
        # A task runs only on a node.
        or (move.target in (State.ASSIGNED, State.PROCESSING) and (release or node_id is None))
    ):
        return None
    if source in FINAL and move.target not in FINAL and _is_over(session, tenant):
        return None
    divided = split is not None
    if move.restart:
        class_id, split = own_class or class_id, None
    return _Found(
        job,
        key[1],
        source,
        attempt,
        class_id,
        release,
        epoch,
        tenant,
        lane,
        node_id is not None,
        stored,
        split,
        divided,
    )


def _is_over(session: Session, tenant: str) -> bool:
    """Whether none of the tenant's jobs that have ended may wait again."""
    counted = tenants.counted(session, tenant)
    return counted is not None and over_for_retry(*counted) is not None


def _make(session: Session, move: Move, found: _Found) -> None:
    job, position, source, attempt, class_id, release, _, tenant, lane, held, stored, split, divided = found
    target, now = move.target, session.now_ms
    due_at = None if move.delay_s is None else now + round(move.delay_s * 1000)
    session.run(
        "move_task", job, position, target.value, now, due_at, release, move.spends, move.loses, move.restart,
        target in _WAITS, None if move.avoid is None else rows.avoidance(move.avoid),
        tenants.lane_of(tenant, tenants.counted(session, tenant)) if source in FINAL else None,
        move.kept_bytes if move.outputs else None,
    )  # fmt: skip
    failure_class = None if move.failure is None else move.failure.failure_class.value
    failure_message = None if move.failure is None else rows.storable(move.failure.message)
    final = target in FINAL
    replaces = failure_class is not None or move.restart or final
    if position == 1:
        shown = job_state(target, is_split=split is not None)
        queued = target is State.QUEUED
        session.run("move_job", job, shown.value, now, due_at, failure_class, failure_message, replaces, final, queued)
    session.run(
        "add_transition", job, position, source, target.value, now, rows.storable(move.reason), attempt, move.actor
    )  # fmt: skip
    session.changed = True
    if target is State.PROCESSING:
        session.run("start_attempt", job, position, attempt, now)
    if move.outcome is not None:
        session.run("end_attempt", job, position, attempt, now, move.outcome.value, failure_class, failure_message)
    _keep_results(session, job, position, move)
    freed = bool(lane) and held and release
    waits = (source in FINAL) - (target in FINAL) if position == 1 else 0
    more = move.kept_bytes - stored if move.outputs else 0
    if freed or waits or more:
        tenants.changed(session, tenant, running=-freed, queued=waits, stored=more)
    if target is State.QUEUED or freed:  # who is the next in a lane that was full is of the same class, mostly
        session.queue(class_id)
    if divided:
        for following in follow_up(tasks(session, job_of(move.task_id)), move):
            _move(session, following)


def _keep_results(session: Session, job: int, position: int, move: Move) -> None:
    if move.outputs:
        session.run("delete_outputs", job)
        for output in move.outputs:
            streams = rows.to_text(output.streams)
            session.run("add_output", job, output.name, output.location, output.sha256, output.size, streams)
    if move.facts is not None and position == 1:
        session.run("keep_facts", job, rows.to_text(move.facts))


def tasks(session: Session, job_id: str) -> Sequence[Task]:
    return [rows.task(row) for row in session.all("tasks", job_id)]


def task(session: Session, task_id: str) -> Task | None:
    key = rows.position_of(task_id)
    row = None if key is None else session.one("task", *key)
    return None if row is None else rows.task(row)


def due(session: Session, limit: int) -> Sequence[Task]:
    return [rows.task(row) for row in session.all("due", session.now_ms, limit)]


def next_due(session: Session) -> datetime | None:
    row = session.one("next_due")
    return None if row is None or row[0] is None else rows.to_datetime(row[0])


def orphans(session: Session, limit: int) -> Sequence[Task]:
    return [rows.task(row) for row in session.all("orphans", limit)]


def left_by(session: Session, node_id: str, epoch: int, limit: int) -> Sequence[Task]:
    return [rows.task(row) for row in session.all("left_by", node_id, epoch, limit)]


def queued_classes(session: Session) -> Mapping[int, datetime]:
    return {number: rows.to_datetime(since) for number, since in session.all("queued_classes") if since is not None}


def queued(session: Session, class_id: int, limit: int) -> Sequence[Task]:
    return [rows.task(row) for row in session.all("queued", class_id, limit)]
