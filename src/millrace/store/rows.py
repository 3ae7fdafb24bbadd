"""From rows to records. Both databases select the same columns in the same order, documents as JSON text."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from millrace.domain.after import Awaited, Waiting
from millrace.domain.batches import Batch
from millrace.domain.chain import Block, Head
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.ids import job_of, task_id
from millrace.domain.keys import ApiKey, Machine
from millrace.domain.masters import Attendance, MasterSeen
from millrace.domain.needs import Needs, needs_from
from millrace.domain.order import Priority, Queue
from millrace.domain.parts import job_progress
from millrace.domain.quarantine import Blame
from millrace.domain.records import (
    Arriving,
    Attempt,
    Claimed,
    Document,
    Job,
    Kind,
    Node,
    NodeState,
    Outcome,
    Output,
    Part,
    Progress,
    Quarantine,
    Standing,
    Task,
    Transition,
)
from millrace.domain.roles import Role
from millrace.domain.schedules import Missed, Overlap, Run, Schedule
from millrace.domain.schedules import Outcome as RunOutcome
from millrace.domain.sla import Classification
from millrace.domain.states import FINAL, State
from millrace.domain.tenants import Quotas, Rules, Tenant, Use
from millrace.domain.webhooks import Delivery, DeliveryState, Message, Webhook

Row = Sequence[Any]
MASTERS_KEPT_TTLS = 1000
"""For so many terms a master that went without a word stays in the table."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NO_PROGRESS = Progress()
_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(dict[str, Any])


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970 in UTC, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def to_datetime(ms: int) -> datetime:
    """The reverse of :func:`to_ms`."""
    return _EPOCH + timedelta(milliseconds=ms)


def _maybe(ms: int | None) -> datetime | None:
    return None if ms is None else to_datetime(ms)


def to_text(document: object) -> str:
    """JSON with sorted keys, so that equal documents have one text."""
    return _encoder.encode(document).decode()


def avoidance(nodes: Iterable[str]) -> str:
    """Nodes as one text. An id is never part of another, so that looking for one in it finds that one."""
    return " ".join(nodes)


def storable(text: str) -> str:
    """The text as both databases can keep it: engines print NUL bytes and broken UTF-8, PostgreSQL takes neither."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def position_of(task: str) -> tuple[str, int] | None:
    """The job's id and the position that a task's id names; None where it is no task's id."""
    position = task.partition(".")[2]
    if not (position.isascii() and position.isdigit()) or len(position) > 6:
        return None
    # A position has one spelling, so that `.01` is not another name of `.1`.
    return None if position.startswith("0") else (job_of(task), int(position))


def cursor_number(cursor: str) -> int:
    """The number that a cursor names.

    Raises:
        ValueError: it is none of a store's.
    """
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 18:
        raise ValueError(f"cannot read the cursor {cursor[:40]!r}: take one from an earlier answer, or none")
    return int(cursor)


def document(text: str) -> Document:
    """A JSON object."""
    return _decoder.decode(text)


def needs(text: str) -> Needs:
    """The needs of a requirement class."""
    return needs_from(_decoder.decode(text))


def _labels(text: str) -> Mapping[str, str]:
    return _decoder.decode(text)


def _failure(failure_class: str | None, message: str | None) -> Failure | None:
    if failure_class is None:
        return None
    return Failure(failure_class=FailureClass(failure_class), message=message or "")


def _progress(row: Row) -> Progress:
    if row[6] is None:
        return _NO_PROGRESS
    fraction, phase, frame, fps, speed, eta_s, updated_at = row
    return Progress(
        fraction=fraction,
        phase=phase,
        frame=frame,
        fps=fps,
        speed=speed,
        eta_s=eta_s,
        updated_at=to_datetime(updated_at),
    )


def job(row: Row) -> Job:
    """A job with its newest progress."""
    return Job(
        id=row[0],
        number=row[1],
        tenant=row[2],
        queue=Queue(row[3]),
        priority=Priority(row[4]),
        classification=None if row[5] is None else Classification(row[5]),
        labels=_labels(row[6]),
        profile=row[7],
        spec=document(row[8]),
        max_retries=row[9],
        timeout_s=row[10],
        state=State(row[11]),
        failure=_failure(row[12], row[13]),
        created_at=to_datetime(row[14]),
        due_at=_maybe(row[15]),
        queued_at=_maybe(row[16]),
        started_at=_maybe(row[17]),
        finished_at=_maybe(row[18]),
        progress=_progress(row[19:26]),
        attempts=row[26] or 0,
        is_split=row[27] is not None,
    )


def task(row: Row) -> Task:
    """One task."""
    return Task(
        id=row[0],
        job_id=row[1],
        state=State(row[2]),
        attempt=row[3],
        spent=row[4],
        losses=row[5],
        max_retries=row[6],
        class_id=row[7],
        node_id=row[8],
        node_epoch=row[9],
        started=bool(row[10]),
        claimed_at=_maybe(row[11]),
        due_at=_maybe(row[12]),
        split=row[13],
        hedges=row[14],
    )


def awaited(found: Iterable[Row]) -> Mapping[str, tuple[Awaited, ...]]:
    """What jobs wait for, by their ids."""
    by_job: dict[str, tuple[Awaited, ...]] = {}
    for job_id, number, state, any_end in found:
        one = Awaited(number=number, state=None if state is None else State(state), any_end=bool(any_end))
        by_job[job_id] = (*by_job.get(job_id, ()), one)
    return by_job


def waiting(tasks: Iterable[Row], awaited_: Mapping[str, tuple[Awaited, ...]]) -> Sequence[Waiting]:
    """Tasks, each with what its job waits for."""
    return [Waiting(task=one, awaited=awaited_.get(one.job_id, ())) for one in map(task, tasks)]


def has_split(counts_: Iterable[Row]) -> bool:
    """Whether any job was split that has not ended, by the rows of the states of a batch."""
    return any(split and state not in FINAL for state, _, _, split in counts_)


def batch(row: Row, counts_: Iterable[Row], standings: Iterable[Row] = ()) -> Batch:
    """A batch, and the rows of its states: the state, how many there are, the sum of the fractions of those that were not split, and
    how many were; the tasks of these are `standings`.
    """
    by_state = {State(state): (count, fractions) for state, count, fractions, _ in counts_}
    unfinished = by_state.keys() - FINAL
    return Batch(
        number=row[0],
        id=row[1],
        tenant=row[2],
        name=row[3],
        total=row[4],
        actor=row[5],
        created_at=to_datetime(row[6]),
        counts={state: count for state, (count, _) in by_state.items()},
        running=sum(by_state[state][1] for state in unfinished)
        + sum(job_progress(tasks).fraction for tasks in _by_job(standings).values()),
    )


def schedule(row: Row) -> Schedule:
    """One schedule with how its last job stands."""
    return Schedule(
        id=row[0],
        tenant=row[1],
        name=row[2],
        cron=row[3],
        zone=row[4],
        overlap=Overlap(row[5]),
        missed=Missed(row[6]),
        request=row[7],
        actor=row[8],
        created_at=to_datetime(row[9]),
        due_at=_maybe(row[10]),
        last_job=row[11],
        last_state=None if row[12] is None else State(row[12]),
    )


def run(row: Row) -> Run:
    """One run of a schedule."""
    return Run(
        due_at=to_datetime(row[0]),
        at=to_datetime(row[1]),
        actor=row[2],
        outcome=RunOutcome(row[3]),
        reason=row[4],
        job=row[5],
        state=None if row[6] is None else State(row[6]),
    )


def claimed(position: int, attempt: int, row: Row) -> Claimed:
    """A claimed task from the row of its job (id, number, profile, spec, timeout) and of its part (kind, number, plan), if any."""
    kind, part, plan = row[5:8]
    return Claimed(
        task_id=task_id(row[0], position),
        job_id=row[0],
        number=row[1],
        attempt=attempt,
        profile=row[2],
        spec=msgspec.Raw(row[3]),
        timeout_s=row[4],
        part=None if kind is None else Part(kind=Kind(kind), number=part, plan=msgspec.Raw((plan or "{}").encode())),
    )


def standing(row: Row) -> Standing:
    """One task as people see it; the first column is the number of its job."""
    _, job_id, position, kind, state, attempt_, node_name, frames, split = row[:9]
    if position == 1:  # what it was before a retry is over
        kind = Kind.WHOLE if split is None else Kind.JOIN
    return Standing(
        task_id=task_id(job_id, position),
        kind=Kind(kind),
        number=row[17],
        state=State(state),
        attempt=attempt_,
        node_name=node_name,
        frames=frames,
        split=split,
        progress=_progress(row[9:16]),
        hedges=row[16],
    )


def _by_job(found: Iterable[Row]) -> dict[str, list[Standing]]:
    tasks: dict[str, list[Standing]] = {}
    for row in found:
        tasks.setdefault(row[1], []).append(standing(row))
    return tasks


def with_progress(jobs: Sequence[Job], found: Iterable[Row]) -> tuple[Job, ...]:
    """The same jobs, those that were split with the progress of all their tasks; `found` are the rows of these tasks, in order."""
    tasks = _by_job(found)
    return tuple(replace(job, progress=job_progress(tasks[job.id])) if job.id in tasks else job for job in jobs)


def arriving(row: Row) -> Arriving:
    """One upload that jobs wait for."""
    upload, size, arrived, is_awaited = row
    return Arriving(upload=upload, size=size, arrived=arrived, is_awaited=bool(is_awaited))


def input_awaited(row: Row) -> Arriving:
    """The same as one job waits for it."""
    upload, size, arrived, reason = row
    return Arriving(upload=upload, size=size, arrived=arrived, reason=reason)


def attempt(row: Row) -> Attempt:
    """One attempt."""
    return Attempt(
        task_id=row[0],
        attempt=row[1],
        node_id=row[2],
        node_name=row[3],
        claimed_at=to_datetime(row[4]),
        started_at=_maybe(row[5]),
        ended_at=_maybe(row[6]),
        outcome=None if row[7] is None else Outcome(row[7]),
        failure=_failure(row[8], row[9]),
    )


def output(row: Row) -> Output:
    """One published file."""
    return Output(name=row[0], location=row[1], sha256=row[2], size=row[3], streams=tuple(msgspec.json.decode(row[4])))


def transition(row: Row) -> Transition:
    """One change of state; the first column is the cursor."""
    return Transition(
        cursor=str(row[0]),
        job_id=row[1],
        number=row[2],
        task_id=task_id(row[1], row[3]),
        source=None if row[4] is None else State(row[4]),
        target=State(row[5]),
        at=to_datetime(row[6]),
        reason=row[7],
        attempt=row[8],
        actor=row[9],
    )


def node(row: Row) -> Node:
    """One node with the number of tasks that it holds."""
    return Node(
        id=row[0],
        fingerprint=row[1],
        boot_id=row[2],
        name=row[3],
        state=NodeState(row[4]),
        epoch=row[5],
        slots=row[6],
        labels=_labels(row[7]),
        facts=document(row[8]),
        registered_at=to_datetime(row[9]),
        seen_at=to_datetime(row[10]),
        lease_until=to_datetime(row[11]),
        holding=row[12],
        quarantine=quarantine(row[13:]),
    )


def quarantine(row: Row) -> Quarantine | None:
    """Why a node gets no work; None where it gets some, or where that was not read."""
    if not row or row[0] is None:
        return None
    return Quarantine(reason=row[0], since=to_datetime(row[1]), proof_due=to_datetime(row[2]), times=row[3])


def blame(row: Row) -> Blame:
    """A job that a node failed and another finished."""
    number, at, failure_class, message = row
    return Blame(
        number=number, at=to_datetime(at), failure=Failure(failure_class=FailureClass(failure_class), message=message)
    )


def api_key(row: Row) -> ApiKey:
    """One API key."""
    return ApiKey(
        id=row[0],
        name=row[1],
        role=Role(row[2]),
        tenant=row[3],
        hint=row[4],
        created_at=to_datetime(row[5]),
        expires_at=_maybe(row[6]),
        used_at=_maybe(row[7]),
        revoked_at=_maybe(row[8]),
        old_until=_maybe(row[9]),
        machine=None if row[10] is None else Machine(row[10], row[11]),
    )


def counts(row: Row) -> tuple[Quotas, Use]:
    """The four limits of a tenant and its use of them."""
    concurrent, queued, per_day, storage, running, waiting, accepted, stored = row
    return (
        Quotas(concurrent=concurrent, queued=queued, per_day=per_day, storage_bytes=storage),
        Use(concurrent=running, queued=waiting, per_day=accepted, storage_bytes=stored),
    )


def tenant(row: Row) -> Tenant:
    """One tenant."""
    quotas, use = counts((*row[2:6], *row[9:13]))
    inputs, outputs = (tuple(msgspec.json.decode(text, type=list[str])) for text in row[6:8])
    return Tenant(
        name=row[0],
        rules=Rules(quotas=quotas, weight=row[13], inputs=inputs, outputs=outputs),
        use=use,
        by_default=bool(row[1]),
        changed_at=to_datetime(row[8]),
    )


def webhook(row: Row) -> Webhook:
    """One subscription with how many messages wait and how many were given up."""
    return Webhook(
        id=row[0],
        tenant=row[1],
        url=row[2],
        events=tuple(row[3].split()),
        created_at=to_datetime(row[4]),
        actor=row[5],
        old_until=_maybe(row[6]),
        disabled_at=_maybe(row[7]),
        disabled_why=row[8],
        pending=row[9],
        dead=row[10],
    )


def delivery(row: Row) -> Delivery:
    """One message as the log shows it."""
    state = DeliveryState(row[5])
    return Delivery(
        id=row[0],
        seq=row[1],
        job_id=row[2],
        number=row[3],
        target=State(row[4]),
        state=state,
        attempts=row[6],
        created_at=to_datetime(row[7]),
        due_at=to_datetime(row[8]) if state is DeliveryState.PENDING else None,
        ended_at=_maybe(row[9]),
        result=row[10],
    )


def message(row: Row) -> Message:
    """One message with all that goes into it."""
    return Message(
        webhook=row[0],
        url=row[1],
        secrets=tuple(secret for secret in row[2:4] if secret is not None),
        id=row[4],
        sequence=row[5],
        attempt=row[6],
        job_id=row[7],
        number=row[8],
        source=None if row[9] is None else State(row[9]),
        target=State(row[10]),
        at=to_datetime(row[11]),
        reason=row[12],
        job_attempt=row[13],
        failure_class=None if row[14] is None else FailureClass(row[14]),
        tenant=row[15] or "",
        profile=row[16] or "",
        labels={} if row[17] is None else _labels(row[17]),
    )


def head(row: Row | None) -> Head:
    """Where the audit trail ends. What a database gives further is left out."""
    if row is None:
        raise ValueError("cannot read the audit trail: its head is gone")
    return Head(number=row[0], seal=bytes(row[1]), oldest=row[2])


def block(row: Row) -> Block:
    """One block of the audit trail."""
    return Block(
        number=row[0], at_ms=row[1], id=bytes(row[2]), body=bytes(row[3]), before=bytes(row[4]), seal=bytes(row[5])
    )


def attendance(leader: Row | None, found: Sequence[Row]) -> Attendance:
    """Who leads, and the masters that are there."""
    return Attendance(
        leader=leader[1] if leader is not None else "",
        epoch=leader[0] if leader is not None else 0,
        masters=[
            MasterSeen(
                id=row[0], name=row[1], version=row[2], started_at=to_datetime(row[3]), seen_at=to_datetime(row[4])
            )
            for row in found
        ],
    )


def cut(chunks: Sequence[Row], offset: int, limit: int) -> bytes:
    """`limit` bytes from `offset` out of chunks that follow each other."""
    if not chunks:
        return b""
    skipped = offset - chunks[0][0]
    return b"".join(data for _, data in chunks)[skipped : skipped + limit]
