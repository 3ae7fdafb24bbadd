"""The embedded store. Each method hands a function over a transaction to the writer or to a reader."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw

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
from millrace.domain.states import State, check_transition
from millrace.domain.tenants import Over, Rules, Tenant
from millrace.domain.webhooks import Delivery, DeliveryState, Follows, Message, NewWebhook, Webhook
from millrace.runtime.clock import Clock
from millrace.runtime.hold import HeldError, Hold
from millrace.runtime.no_space import NO_SPACE
from millrace.store import rows
from millrace.store.hints import Listeners
from millrace.store.sqlite import audit as audit_units
from millrace.store.sqlite import enrolment as enrolment_units
from millrace.store.sqlite import holdings as holding_units
from millrace.store.sqlite import jobs as job_units
from millrace.store.sqlite import keys as key_units
from millrace.store.sqlite import logs as log_units
from millrace.store.sqlite import masters as master_units
from millrace.store.sqlite import nodes as node_units
from millrace.store.sqlite import parts as part_units
from millrace.store.sqlite import quarantine as quarantine_units
from millrace.store.sqlite import tenants as tenant_units
from millrace.store.sqlite import webhooks as webhook_units
from millrace.store.sqlite import work as work_units
from millrace.store.sqlite.access import ALONE
from millrace.store.sqlite.arriving import ArrivingInputs
from millrace.store.sqlite.batches import Batches
from millrace.store.sqlite.connection import Session, meaning_of, no_space, open_connection
from millrace.store.sqlite.dependencies import Dependencies
from millrace.store.sqlite.readers import Readers
from millrace.store.sqlite.schedules import Schedules
from millrace.store.sqlite.schema import migrate
from millrace.store.sqlite.writer import Writer
from millrace.store.store import (
    HEARTBEATS_GATHER_S,
    Added,
    Arrival,
    ConnectionsUsed,
    JobFilter,
    JobPage,
    Listener,
    StoreBrokenError,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
)

T = TypeVar("T")


class SqliteStore(Dependencies, Batches, Schedules, ArrivingInputs):
    """A :class:`~millrace.store.store.Store` in one file, for one process."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        vfs: str | None = None,
        on_broken: Callable[[StoreBrokenError], None] = lambda _: None,
    ) -> None:
        """`vfs` names a registered SQLite file layer; None for the system's. `on_broken` is called once nothing is written any more."""
        self._path = path
        self._clock = clock
        self._vfs = vfs
        self._on_broken = on_broken
        self._listeners = Listeners()
        self._classes: dict[str, int] = {}
        self._hold: Hold | None = None
        self._writer: Writer | None = None
        self._readers: Readers | None = None

    # Life -----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        if self._writer is not None:
            return
        connection = await asyncio.get_running_loop().run_in_executor(None, self._open)
        self._writer = Writer(connection, self._path, self._now_ms, self._listeners.tell, self._on_broken)
        self._readers = Readers(self._path, self._now_ms, self._vfs)

    def _open(self) -> apsw.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._hold = Hold.take(self._path.with_name(self._path.name + ".pid"))
        except HeldError as error:
            raise StoreBusyError(f"cannot open the database {self._path}: {error}; stop that one first") from error
        except OSError as error:
            if error.errno in NO_SPACE:
                raise no_space(self._path) from error
            raise StoreUnavailableError(f"cannot open the database {self._path}: {error}") from error
        try:
            connection = open_connection(self._path, readonly=False, vfs=self._vfs)
            try:
                migrate(connection, self._now_ms)
            except BaseException:
                connection.close()
                raise
        except apsw.Error as error:
            self._release()
            raise meaning_of(error, self._path) or StoreError(f"cannot open {self._path}: {error}") from error
        except BaseException:
            self._release()
            raise
        return connection

    def _release(self) -> None:
        if self._hold is not None:
            self._hold.release()
            self._hold = None

    async def stop(self) -> None:
        writer, readers, self._writer, self._readers = self._writer, self._readers, None, None
        if readers is not None:
            await readers.stop()
        if writer is not None:
            try:
                await writer.stop()
            finally:
                self._release()

    async def ping(self) -> None:
        if self._writer is not None and self._writer.failed is not None:
            raise self._writer.failed
        await self._read(lambda session: session.one("ping"))

    async def try_write(self) -> None:
        await self._write(lambda session: session.run("try_write"))

    async def now(self) -> datetime:
        return rows.to_datetime(self._now_ms())

    def _now_ms(self) -> int:
        return rows.to_ms(self._clock.now())

    @property
    def connections(self) -> ConnectionsUsed | None:
        return None

    def listen(self, listener: Listener) -> Callable[[], None]:
        return self._listeners.add(listener)

    def _write(self, unit: Callable[[Session], T], *, gather_s: float = 0.0, weight: int = 1) -> "asyncio.Future[T]":
        if self._writer is None:
            raise StoreUnavailableError(f"cannot write to {self._path}: the store is not started")
        return self._writer.submit(unit, gather_s=gather_s, weight=weight)

    async def _read(self, query: Callable[[Session], T]) -> T:
        if self._readers is None:
            raise StoreUnavailableError(f"cannot read {self._path}: the store is not started")
        return await self._readers.read(query)

    # Jobs -----------------------------------------------------------------------------------------------------------

    async def class_of(self, needs: Needs) -> int:
        digest = needs.digest
        if digest not in self._classes:
            self._classes[digest] = await self._write(partial(job_units.class_of, digest=digest, needs=needs))
        return self._classes[digest]

    async def classes(self, after: int = 0) -> Sequence[tuple[int, Needs]]:
        return await self._read(lambda session: job_units.classes(session, after))

    async def add_jobs(self, jobs: Sequence[NewJob]) -> Sequence[Added]:
        return await self._write(lambda session: job_units.add_jobs(session, jobs), weight=len(jobs))

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
        seq = 0 if after is None else rows.cursor_number(after)
        return await self._read(lambda session: job_units.events(session, seq, limit, job_id, tenant))

    async def last_cursor(self) -> str | None:
        return await self._read(job_units.last_cursor)

    async def delete_finished(self, *, before: datetime, limit: int) -> Sequence[str]:
        before_ms = rows.to_ms(before)
        return await self._write(lambda session: job_units.delete_finished(session, before_ms, limit), weight=limit)

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
        unit = partial(
            work_units.claim, node_id=node_id, epoch=epoch, request_id=request_id, classes=classes, limit=limit,
            allowance=allowance,
        )  # fmt: skip
        return await self._write(unit, weight=limit)

    async def move(self, moves: Sequence[Move]) -> Sequence[bool]:
        for move in moves:
            for source in move.sources:
                check_transition(source, move.target)
        return await self._write(lambda session: work_units.move_all(session, moves), weight=len(moves))

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
        unit = partial(
            work_units.move_and_claim, move=move, epoch=epoch, request_id=request_id, classes=classes, limit=limit,
            allowance=allowance,
        )  # fmt: skip
        return await self._write(unit, weight=limit)

    async def split(self, split: Split) -> bool:
        for source in split.move.sources:
            check_transition(source, split.move.target)
        return await self._write(lambda session: part_units.split(session, split), weight=1 + len(split.parts))

    async def hedge(self, hedge: Hedge) -> bool:
        return await self._write(lambda session: part_units.hedge(session, hedge))

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
        return await self._write(lambda session: node_units.register(session, node))

    async def heartbeat(self, *, node_id: str, epoch: int, ttl_s: float, reports: Sequence[Report]) -> Beat | None:
        unit = partial(node_units.heartbeat, node_id=node_id, epoch=epoch, ttl_s=ttl_s, reports=reports)
        return await self._write(unit, gather_s=HEARTBEATS_GATHER_S, weight=1 + len(reports))

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
        return await self._write(lambda session: node_units.expire_leases(session, limit), weight=limit)

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
        before_ms = rows.to_ms(before)
        return await self._write(lambda session: key_units.delete_ended_keys(session, before_ms, limit), weight=limit)

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
        return await self._write(lambda session: webhook_units.relay(session, limit), weight=limit)

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
        unit = partial(tenant_units.set_tenant, name=name, rules=rules, by_default=by_default)
        return await self._write(unit, weight=ALONE)

    async def remove_tenant(self, name: str) -> bool:
        return await self._write(lambda session: tenant_units.remove_tenant(session, name), weight=ALONE)

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
        before_ms = rows.to_ms(before)
        await self._write(lambda session: audit_units.forget_audit(session, before_ms, limit), weight=limit)

    # Masters --------------------------------------------------------------------------------------------------------

    async def attend(self, master: Presence, *, ttl_s: float) -> Attendance:
        ttl_ms = round(ttl_s * 1000)
        return await self._write(lambda session: master_units.attend(session, master, ttl_ms))

    async def attendance(self, *, ttl_s: float) -> Attendance:
        return await self._read(lambda session: master_units.attendance(session, round(ttl_s * 1000)))

    async def masters_behind(self, *, ttl_s: float) -> int:
        return await self._read(lambda session: master_units.masters_behind(session, round(ttl_s * 1000)))

    async def leave(self, master_id: str) -> None:
        await self._write(lambda session: master_units.leave(session, master_id))
