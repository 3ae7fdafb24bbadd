"""The shared store. The verbs that come often are coalesced; the others are one transaction each."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from millrace.domain.chain import Block, Head
from millrace.domain.failures import Failure
from millrace.domain.invitations import Enrolment, NewInvitation
from millrace.domain.keys import ApiKey, NewKey
from millrace.domain.masters import Attendance, Presence
from millrace.domain.needs import Needs
from millrace.domain.quarantine import NodeRecord
from millrace.domain.records import (
    Attempt,
    Beat,
    Claimed,
    Document,
    Hedge,
    Job,
    Move,
    NewJob,
    NewNode,
    Node,
    NodeState,
    Output,
    Report,
    Split,
    Standing,
    Task,
    Transition,
)
from millrace.domain.sessions import Allowance
from millrace.domain.states import FINAL, State, check_transition
from millrace.domain.tenants import Over, Rules, Tenant
from millrace.domain.webhooks import Delivery, DeliveryState, Follows, Message, NewWebhook, Webhook
from millrace.runtime.clock import Clock
from millrace.store import rows
from millrace.store.hints import Listeners
from millrace.store.postgres import audit as audit_units
from millrace.store.postgres import enrolment as enrolment_units
from millrace.store.postgres import holdings as holding_units
from millrace.store.postgres import jobs as job_units
from millrace.store.postgres import keys as key_units
from millrace.store.postgres import logs as log_units
from millrace.store.postgres import masters as master_units
from millrace.store.postgres import nodes as node_units
from millrace.store.postgres import parts as part_units
from millrace.store.postgres import quarantine as quarantine_units
from millrace.store.postgres import tenants as tenant_units
from millrace.store.postgres import webhooks as webhook_units
from millrace.store.postgres import work as work_units
from millrace.store.postgres.arriving import ArrivingInputs
from millrace.store.postgres.batches import Batches
from millrace.store.postgres.claims import Claim
from millrace.store.postgres.connect import PATIENT_SETTINGS
from millrace.store.postgres.connection import Database, Session
from millrace.store.postgres.dependencies import Dependencies, accepted
from millrace.store.postgres.errors import explained
from millrace.store.postgres.moves import MoveAndClaim, rounds, run_again
from millrace.store.postgres.nodes import Heartbeat
from millrace.store.postgres.notices import Notices
from millrace.store.postgres.schedules import Schedules
from millrace.store.postgres.schema import migrate
from millrace.store.postgres.verbs import Verbs
from millrace.store.store import (
    Added,
    Arrival,
    ConnectionsUsed,
    JobFilter,
    JobPage,
    Listener,
    StoreUnavailableError,
)

T = TypeVar("T")
_EVENT_CURSOR = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


class PostgresStore(Dependencies, Batches, Schedules, ArrivingInputs):
    """A :class:`~millrace.store.store.Store` for any number of masters."""

    def __init__(self, url: str, *, clock: Clock, connections: int, may_lose: bool) -> None:
        """See `open_store`."""
        self._url = url
        self._clock = clock
        self._connections = connections
        self._may_lose = may_lose
        self._listeners = Listeners()
        self._classes: dict[str, int] = {}
        self._database: Database | None = None
        self._notices: Notices | None = None
        self._verbs: Verbs | None = None

    # Life -----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        if self._database is not None:
            return
        database = Database(self._url, connections=self._connections, may_lose=self._may_lose)
        notices = Notices(database, self._clock, self._listeners)
        try:
            await database.open()
            with explained():
                connection = await database.connect(PATIENT_SETTINGS)
                try:
                    await migrate(connection)
                finally:
                    connection.terminate()
            await notices.start()
        except BaseException:
            database.close()
            raise
        self._database, self._notices, self._verbs = database, notices, Verbs(database, notices.tell)

    async def stop(self) -> None:
        database, notices, verbs = self._database, self._notices, self._verbs
        self._database = self._notices = self._verbs = None
        if verbs is not None:
            await verbs.drain()
        if notices is not None:
            await notices.stop()
        if database is not None:
            database.close()

    async def ping(self) -> None:
        if self._database is not None:
            self._database.check_writes()
        await self._read(lambda session: session.one("ping"))

    async def try_write(self) -> None:
        await self._write(lambda session: session.run("try_write"))

    async def now(self) -> datetime:
        row = await self._read(lambda session: session.one("now"))
        return rows.to_datetime(row[0])

    @property
    def connections(self) -> ConnectionsUsed | None:
        return None if self._database is None else self._database.used

    def listen(self, listener: Listener) -> Callable[[], None]:
        return self._listeners.add(listener)

    def _running(self) -> Verbs:
        if self._verbs is None:
            raise StoreUnavailableError("cannot use PostgreSQL: the store is not started")
        return self._verbs

    async def _write(self, unit: Callable[[Session], Awaitable[T]]) -> T:
        return await self._running().write(unit)

    async def _accept(self, unit: Callable[[Session], Awaitable[tuple[T, Sequence[Added]]]]) -> T:
        return await self._running().accept(unit)

    async def _read(self, query: Callable[[Session], Awaitable[T]]) -> T:
        if self._database is None:
            raise StoreUnavailableError("cannot use PostgreSQL: the store is not started")
        return await self._database.read(query)

    # Jobs -----------------------------------------------------------------------------------------------------------

    async def class_of(self, needs: Needs) -> int:
        digest = needs.digest
        if digest not in self._classes:
            self._classes[digest] = await self._write(partial(job_units.class_of, digest=digest, needs=needs))
        return self._classes[digest]

    async def classes(self, after: int = 0) -> Sequence[tuple[int, Needs]]:
        return await self._read(lambda session: job_units.classes(session, after))

    async def add_jobs(self, jobs: Sequence[NewJob]) -> Sequence[Added]:
        if any(job.after or job.awaits for job in jobs):  # which come too seldom to be some of a batch
            return await self._accept(lambda session: accepted(session, jobs))
        return await self._running().add_jobs.submit(jobs)

    async def job(self, ref: str | int) -> Job | None:
        return await self._read(lambda session: job_units.job(session, ref))

    async def jobs(self, only: JobFilter, *, cursor: str | None, limit: int) -> JobPage:
        below = None if cursor is None else rows.cursor_number(cursor)
        return await self._read(lambda session: job_units.jobs(session, only, below, limit))

    async def count_jobs(self) -> Mapping[State, int]:
        return await self._read(job_units.count_jobs)

    async def tasks(self, job_id: str) -> Sequence[Task]:
        return await self._read(lambda session: work_units.tasks(session, job_id))

    async def task(self, task_id: str) -> Task | None:
        return await self._read(lambda session: work_units.task(session, task_id))

    async def standings(self, job_id: str) -> Sequence[Standing]:
        return await self._read(lambda session: part_units.standings(session, job_id))

    async def attempts(self, job_id: str) -> Sequence[Attempt]:
        return await self._read(lambda session: job_units.attempts(session, job_id))

    async def outputs(self, job_id: str) -> Sequence[Output]:
        return await self._read(lambda session: job_units.outputs(session, job_id))

    async def facts(self, job_id: str) -> Document | None:
        return await self._read(lambda session: job_units.facts(session, job_id))

    async def transitions(self, job_id: str) -> Sequence[Transition]:
        return await self._read(lambda session: job_units.transitions(session, job_id))

    async def events(
        self, *, after: str | None, limit: int, job_id: str | None = None, tenant: str | None = None
    ) -> Sequence[Transition]:
        place = (0, 0) if after is None else _event_cursor(after)
        return await self._read(lambda session: job_units.events(session, place, limit, job_id, tenant))

    async def last_cursor(self) -> str | None:
        return await self._read(job_units.last_cursor)

    async def delete_finished(self, *, before: datetime, limit: int) -> Sequence[str]:
        return await self._write(lambda session: job_units.delete_finished(session, rows.to_ms(before), limit))

    # Work -----------------------------------------------------------------------------------------------------------

    async def claim(
        self,
        *,
        node_id: str,
        epoch: int,
        request_id: str,
        classes: Sequence[int],
        limit: int,
        allowance: Allowance | None = None,
    ) -> Sequence[Claimed] | None:
        asked = Claim(node_id=node_id, epoch=epoch, request_id=request_id, limit=limit)
        verbs = self._running()
        if allowance is not None:
            return await verbs.claim_with(allowance, classes, asked)
        return await verbs.claims.submit(tuple(sorted(set(classes))), asked)

    async def move(self, moves: Sequence[Move]) -> Sequence[bool]:
        for move in moves:
            for source in move.sources:
                check_transition(source, move.target)
        verbs = self._running()
        if len(moves) == 1:
            return [await self._move(verbs, moves[0])]
        answers = [False] * len(moves)
        # Moves of one job in one call follow each other; all others go together.
        for places in rounds(moves):
            done = await asyncio.gather(*(self._move(verbs, moves[place]) for place in places))
            for place, happened in zip(places, done, strict=True):
                answers[place] = happened
        return answers

    @staticmethod
    async def _move(verbs: Verbs, move: Move) -> bool:
        if move.target in FINAL or FINAL.isdisjoint(move.sources):
            return await verbs.moves.submit(move)
        # What lets a job run again that has ended is counted first, and comes too seldom to be one of a batch.
        (happened,) = await verbs.write(lambda session: run_again(session, move))
        return happened

    async def move_and_claim(
        self,
        move: Move,
        *,
        epoch: int,
        request_id: str,
        classes: Sequence[int],
        limit: int,
        allowance: Allowance | None = None,
    ) -> Sequence[Claimed] | None:
        for source in move.sources:
            check_transition(source, move.target)
        if move.node_id is None:
            return None
        claim = Claim(node_id=move.node_id, epoch=epoch, request_id=request_id, limit=limit)
        verbs, report = self._running(), MoveAndClaim(move=move, claim=claim)
        if allowance is not None:
            return await verbs.report_with(allowance, classes, report)
        return await verbs.reports.submit(tuple(sorted(set(classes))), report)

    async def split(self, split: Split) -> bool:
        for source in split.move.sources:
            check_transition(source, split.move.target)
        return await self._running().split(split)

    async def hedge(self, hedge: Hedge) -> bool:
        return await self._running().write(lambda session: part_units.hedge(session, hedge))

    async def under_way_in_parts(self, *, limit: int) -> Sequence[str]:
        return await self._read(lambda session: part_units.under_way_in_parts(session, limit))

    async def ended_splits(self, *, limit: int) -> Sequence[tuple[str, int]]:
        return await self._read(lambda session: part_units.ended_splits(session, limit))

    async def forget_pieces(self, job_id: str, last: int) -> None:
        await self._write(lambda session: part_units.forget_pieces(session, job_id, last))

    async def due(self, *, limit: int) -> Sequence[Task]:
        return await self._read(lambda session: work_units.due(session, limit))

    async def next_due(self) -> datetime | None:
        return await self._read(work_units.next_due)

    async def orphans(self, *, limit: int) -> Sequence[Task]:
        return await self._read(lambda session: work_units.orphans(session, limit))

    async def left_by(self, node_id: str, *, epoch: int, limit: int) -> Sequence[Task]:
        return await self._read(lambda session: work_units.left_by(session, node_id, epoch, limit))

    async def queued_classes(self) -> Mapping[int, datetime]:
        return await self._read(work_units.queued_classes)

    async def queued(self, class_id: int, *, limit: int) -> Sequence[Task]:
        return await self._read(lambda session: work_units.queued(session, class_id, limit))

    # Nodes ----------------------------------------------------------------------------------------------------------

    async def register(self, node: NewNode) -> Node | None:
        return await self._running().registrations.submit(node)

    async def heartbeat(self, *, node_id: str, epoch: int, ttl_s: float, reports: Sequence[Report]) -> Beat | None:
        beat = Heartbeat(node_id=node_id, epoch=epoch, ttl_s=ttl_s, reports=reports)
        return await self._running().heartbeats.submit(beat)

    async def nodes(self) -> Sequence[Node]:
        return await self._read(node_units.nodes)

    async def node(self, ref: str) -> Node | None:
        return await self._read(lambda session: node_units.node(session, ref))

    async def set_node_state(self, node_id: str, target: NodeState, *, sources: Iterable[NodeState]) -> bool:
        allowed = tuple(sources)
        return await self._write(lambda session: node_units.set_node_state(session, node_id, target, allowed))

    async def add_blame(self, node_id: str, job_id: str, failure: Failure) -> None:
        await self._write(lambda session: quarantine_units.add_blame(session, node_id, job_id, failure))

    async def node_record(self, node_id: str) -> NodeRecord:
        return await self._read(lambda session: quarantine_units.node_record(session, node_id))

    async def quarantine(self, node_id: str, *, reason: str, proof_after_s: float, times: int) -> bool:
        unit = partial(
            quarantine_units.quarantine, node_id=node_id, reason=reason, proof_after_s=proof_after_s, times=times
        )
        return await self._write(unit)

    async def release(self, node_id: str) -> bool:
        return await self._write(lambda session: quarantine_units.release(session, node_id))

    async def remove_node(self, node_id: str) -> bool:
        return await self._write(lambda session: node_units.remove_node(session, node_id))

    async def expire_leases(self, *, limit: int) -> Sequence[Node]:
        return await self._write(lambda session: node_units.expire_leases(session, limit))

    async def clock_was_set_back(self, *, by_s: float, ttl_s: float) -> None:
        by_ms, ttl_ms = round(by_s * 1000), round(ttl_s * 1000)
        await self._write(lambda session: node_units.clock_was_set_back(session, by_ms, ttl_ms))

    # What a worker may read, and what it has sent -------------------------------------------------------------------

    async def holds_input(self, location: str, *, node_id: str | None, key_id: str) -> bool:
        return await self._read(lambda session: holding_units.holds_input(session, location, node_id, key_id))

    async def key_of_node(self, node_id: str) -> str | None:
        return await self._read(lambda session: holding_units.key_of_node(session, node_id))

    async def keep_arrival(self, task_id: str, attempt: int, name: str, arrival: Arrival) -> None:
        await self._write(lambda session: holding_units.keep_arrival(session, task_id, attempt, name, arrival))

    async def arrivals(self, task_id: str, attempt: int) -> Mapping[str, Arrival]:
        return await self._read(lambda session: holding_units.arrivals(session, task_id, attempt))

    async def forget_arrivals(self, job_id: str) -> None:
        await self._write(lambda session: holding_units.forget_arrivals(session, job_id))

    # Logs -----------------------------------------------------------------------------------------------------------

    async def append_log(self, task_id: str, attempt: int, *, offset: int, data: bytes) -> int | None:
        return await self._write(lambda session: log_units.append_log(session, task_id, attempt, offset, data))

    async def read_log(self, task_id: str, attempt: int, *, offset: int, limit: int) -> bytes | None:
        return await self._read(lambda session: log_units.read_log(session, task_id, attempt, offset, limit))

    # API keys -------------------------------------------------------------------------------------------------------

    async def add_key(self, key: NewKey) -> ApiKey | None:
        return await self._write(lambda session: key_units.add_key(session, key))

    async def keys(self, *, ended: bool) -> Sequence[ApiKey]:
        return await self._read(lambda session: key_units.keys(session, ended))

    async def key(self, ref: str) -> ApiKey | None:
        return await self._read(lambda session: key_units.key(session, ref))

    async def live_key(self, mark: bytes | str) -> ApiKey | None:
        return await self._read(lambda session: key_units.live_key(session, mark))

    async def rotate_key(self, key_id: str, *, digest: bytes, hint: str, grace_s: float) -> ApiKey | None:
        return await self._write(lambda session: key_units.rotate_key(session, key_id, digest, hint, grace_s))

    async def revoke_key(self, key_id: str) -> ApiKey | None:
        return await self._write(lambda session: key_units.revoke_key(session, key_id))

    async def delete_ended_keys(self, *, before: datetime, limit: int) -> int:
        return await self._write(lambda session: key_units.delete_ended_keys(session, rows.to_ms(before), limit))

    async def note_keys_used(self, key_ids: Collection[str]) -> None:
        return await self._write(lambda session: key_units.note_keys_used(session, key_ids))

    # Webhooks -------------------------------------------------------------------------------------------------------

    async def add_webhook(self, webhook: NewWebhook) -> Webhook:
        return await self._write(lambda session: webhook_units.add_webhook(session, webhook))

    async def webhooks(self) -> Sequence[Webhook]:
        return await self._read(webhook_units.webhooks)

    async def webhook(self, webhook_id: str) -> Webhook | None:
        return await self._read(lambda session: webhook_units.webhook(session, webhook_id))

    async def remove_webhook(self, webhook_id: str) -> bool:
        return await self._write(lambda session: webhook_units.remove_webhook(session, webhook_id))

    async def rotate_webhook(self, webhook_id: str, *, secret: str, grace_s: float) -> Webhook | None:
        return await self._write(lambda session: webhook_units.rotate_webhook(session, webhook_id, secret, grace_s))

    async def disable_webhook(self, webhook_id: str, *, why: str) -> bool:
        return await self._write(lambda session: webhook_units.disable_webhook(session, webhook_id, why))

    async def overfull_webhooks(self, *, most: int) -> Sequence[str]:
        return await self._read(lambda session: webhook_units.overfull_webhooks(session, most))

    async def relay_messages(self, *, limit: int) -> int | None:
        listened, behind = await self._read(webhook_units.is_behind)
        if not (listened and behind):
            return 0 if listened else None
        return await self._write(lambda session: webhook_units.relay(session, limit))

    async def next_message_due(self) -> datetime | None:
        return await self._read(webhook_units.next_message_due)

    async def take_messages(self, *, busy: Collection[str], each: int, limit: int, lease_s: float) -> Sequence[Message]:
        unit = partial(webhook_units.take_messages, busy=busy, each=each, limit=limit, lease_s=lease_s)
        return await self._write(unit)

    async def settle_message(self, seq: int, *, attempt: int, follows: Follows) -> bool:
        return await self._write(lambda session: webhook_units.settle_message(session, seq, attempt, follows))

    async def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None, below: int | None, limit: int
    ) -> Sequence[Delivery]:
        return await self._read(lambda session: webhook_units.deliveries(session, webhook_id, state, below, limit))

    async def replay_messages(self, webhook_id: str, message_id: str | None) -> int:
        return await self._write(lambda session: webhook_units.replay(session, webhook_id, message_id))

    async def forget_messages(self, state: DeliveryState, *, age_s: float, limit: int) -> int:
        return await self._write(lambda session: webhook_units.forget_messages(session, state, age_s, limit))

    async def count_messages(self) -> Mapping[DeliveryState, int]:
        return await self._read(webhook_units.count_messages)

    # Tenants --------------------------------------------------------------------------------------------------------

    async def tenant(self, name: str) -> Tenant | None:
        return await self._read(lambda session: tenant_units.tenant(session, name))

    async def tenants(self) -> Sequence[Tenant]:
        return await self._read(tenant_units.tenants)

    async def set_tenant(self, name: str, rules: Rules, *, by_default: bool = False) -> Tenant:
        return await self._write(lambda session: tenant_units.set_tenant(session, name, rules, by_default))

    async def remove_tenant(self, name: str) -> bool:
        return await self._write(lambda session: tenant_units.remove_tenant(session, name))

    async def add_upload(self, upload_id: str, tenant: str, size: int) -> Over | None:
        return await self._write(lambda session: tenant_units.add_upload(session, upload_id, tenant, size))

    async def release_upload(self, upload_id: str) -> None:
        await self._write(lambda session: tenant_units.release_upload(session, upload_id))

    async def release_uploads(self, *, below: str) -> None:
        await self._write(lambda session: tenant_units.release_uploads(session, below))

    # Machines that join ---------------------------------------------------------------------------------------------

    async def add_invitation(self, new: NewInvitation) -> datetime:
        return await self._write(lambda session: enrolment_units.add_invitation(session, new))

    async def is_invited(self, token: bytes, public: bytes) -> bool:
        return await self._read(lambda session: enrolment_units.is_invited(session, token, public))

    async def enrol(self, new: Enrolment) -> ApiKey | None:
        return await self._write(lambda session: enrolment_units.enrol(session, new))

    async def expel(self, node_id: str) -> None:
        return await self._write(lambda session: enrolment_units.expel(session, node_id))

    async def authority(self) -> str | None:
        return await self._read(enrolment_units.authority)

    async def note_authority(self, fingerprint: str, *, replace: bool = False) -> str:
        return await self._write(lambda session: enrolment_units.note_authority(session, fingerprint, replace))

    # The audit trail ------------------------------------------------------------------------------------------------

    async def add_audit(self, block_id: bytes, body: bytes) -> None:
        await self._write(lambda session: audit_units.add_audit(session, block_id, body))

    async def audit_head(self) -> Head:
        return await self._read(audit_units.audit_head)

    async def audit_after(self, number: int, *, limit: int) -> Sequence[Block]:
        return await self._read(lambda session: audit_units.audit_after(session, number, limit))

    async def audit_before(self, number: int, *, limit: int) -> Sequence[Block]:
        return await self._read(lambda session: audit_units.audit_before(session, number, limit))

    async def forget_audit(self, *, before: datetime, limit: int) -> None:
        await self._write(lambda session: audit_units.forget_audit(session, rows.to_ms(before), limit))

    # Masters --------------------------------------------------------------------------------------------------------

    async def attend(self, master: Presence, *, ttl_s: float) -> Attendance:
        ttl_ms = round(ttl_s * 1000)
        # Each statement by itself: a leader that stands still between two of them, or whose answers are lost, would
        # otherwise hold the row that all others wait for.
        attendance = await self._read(lambda session: master_units.attend(session, master, ttl_ms))
        if self._database is not None:
            self._database.shared_by(len(attendance.masters))
        return attendance

    async def attendance(self, *, ttl_s: float) -> Attendance:
        return await self._read(lambda session: master_units.attendance(session, round(ttl_s * 1000)))

    async def masters_behind(self, *, ttl_s: float) -> int:
        return await self._read(lambda session: master_units.masters_behind(session, round(ttl_s * 1000)))

    async def leave(self, master_id: str) -> None:
        await self._write(lambda session: master_units.leave(session, master_id))


def _event_cursor(cursor: str) -> tuple[int, int]:
    """The transaction and the number that a cursor of events names."""
    found = _EVENT_CURSOR.fullmatch(cursor)
    if found is None:
        raise ValueError(f"cannot read the cursor {cursor[:40]!r}: take one from an earlier answer, or none")
    return int(found[1]), int(found[2])
