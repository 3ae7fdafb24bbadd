"""Entries that a dead master owed to the audit trail are written from the jobs: all of them, once, and no others."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millrace.api import audit_recovery
from millrace.api.audit import entries_of
from millrace.api.audit_recovery import SETTLE, Survivors, recover
from millrace.domain.batches import NewBatch
from millrace.domain.chain import pack
from millrace.domain.masters import Attendance, MasterSeen
from millrace.runtime.clock import VirtualClock
from millrace.scheduler.farm import Farm
from millrace.scheduler.submit import Caller, prepare
from millrace.store.sqlite.driver import SqliteStore
from millrace.wire.v1.jobs import JobRequest
from power.script import Life

Work = Callable[[SqliteStore, Life, VirtualClock], Coroutine[Any, Any, None]]


def run(folder: Path, work: Work) -> None:
    async def whole() -> None:
        clock = VirtualClock()
        store = SqliteStore(folder / "farm.db", clock=clock)
        await store.start()
        await work(store, Life(store, folder, lambda *_, **__: None), clock)
        await store.stop()

    asyncio.run(whole())


async def told(store: SqliteStore) -> list[str]:
    """The jobs of which the trail tells, oldest first."""
    blocks = await store.audit_after(0, limit=10_000)
    return [str(entry.after["job"]) for block in blocks for entry in entries_of(block) if isinstance(entry.after, dict)]


async def tell(store: SqliteStore, job: str) -> None:
    entry = audit_recovery.AuditEntry(
        at=datetime(2026, 1, 1, tzinfo=UTC), request_id="r", caller="person", role="admin", client="127.0.0.1",
        method="POST", route="/v1/jobs", path="/v1/jobs", status=201, after={"job": job},
    )  # fmt: skip
    await store.add_audit(job.encode()[-16:], pack([msgspec.json.encode(entry)]))


def test_only_what_is_missing_is_written_and_once(tmp_path: Path) -> None:
    async def work(store: SqliteStore, life: Life, _: VirtualClock) -> None:
        first, second, third = [await life.submit(number) for number in range(3)]
        await tell(store, first)
        assert await recover(store) == 2
        assert sorted(await told(store)) == sorted([first, second, third])
        assert await recover(store) == 0
        entries = [entry for block in await store.audit_after(0, limit=9) for entry in entries_of(block)]
        assert [(one.caller, one.status, one.detail != "") for one in entries] == [
            ("person", 201, False), ("person", 201, True), ("person", 201, True)
        ]  # fmt: skip

    run(tmp_path, work)


def test_two_that_write_at_once_write_one_entry(tmp_path: Path) -> None:
    async def work(store: SqliteStore, life: Life, _: VirtualClock) -> None:
        job = await life.submit(1)
        await asyncio.gather(recover(store), recover(store))
        assert await told(store) == [job]

    run(tmp_path, work)


def test_it_ends_where_nothing_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a whole page of jobs that have theirs, one that lacks it has lacked it since long before."""

    async def work(store: SqliteStore, life: Life, clock: VirtualClock) -> None:
        await life.submit(0)
        clock.step_wall(3600)
        for number in range(1, 10):
            await tell(store, await life.submit(number))
        newest = await life.submit(10)
        assert await recover(store) == 1
        assert (await told(store))[-1] == newest

    monkeypatch.setattr(audit_recovery, "PAGE", 5)
    run(tmp_path, work)


def test_what_was_deleted_of_the_trail_is_not_written_again(tmp_path: Path) -> None:
    async def work(store: SqliteStore, life: Life, clock: VirtualClock) -> None:
        old = await life.submit(0)
        await tell(store, old)
        clock.step_wall(86_400)
        new = await life.submit(1)
        await tell(store, new)
        await store.forget_audit(before=await store.now() - timedelta(hours=1), limit=9)
        assert await told(store) == [new]
        assert await recover(store) == 0

    run(tmp_path, work)


def test_jobs_of_batches_and_schedules_are_owed_no_entry_of_their_own(tmp_path: Path) -> None:
    async def work(store: SqliteStore, life: Life, clock: VirtualClock) -> None:
        farm, request = Farm(store=store, clock=clock), JobRequest(scenario="720p30-h264")
        jobs = [(await prepare(farm, request, caller=Caller(name="person")))[0] for _ in range(3)]
        await store.add_batch(NewBatch(id="b-one", tenant="default", name="one", actor="person"), jobs)
        scheduled, _ = await prepare(farm, request, caller=Caller(name="schedule:nightly"))
        await store.add_jobs([scheduled])
        alone = await life.submit(1)
        assert await recover(store) == 1
        assert await told(store) == [alone]

    run(tmp_path, work)


class Hall:
    """Who attends, by the store's time."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.present: Sequence[str] = ("me", "other")
        self.attendance: Attendance | None = None
        self.leads = True
        self.survivors = Survivors(store, lambda: self.attendance, lambda: self.leads)

    async def look(self) -> None:
        now = await self.store.now()
        seen = [MasterSeen(id=one, name=one, version="1", started_at=now, seen_at=now) for one in self.present]
        self.attendance = Attendance(leader="me", epoch=1, masters=seen)
        await self.survivors.look()


def test_of_many_masters_the_leader_writes_what_one_owed_that_has_gone(tmp_path: Path) -> None:
    async def work(store: SqliteStore, life: Life, clock: VirtualClock) -> None:
        hall = Hall(store)
        await hall.look()
        clock.step_wall(SETTLE.total_seconds() + 1)
        await hall.look()  # what it looks at after its own start
        owed = await life.submit(0)
        clock.step_wall(3600)
        hall.present = ("me",)
        await hall.look()
        young = await life.submit(1)
        assert await told(store) == []  # the other may still be at it
        clock.step_wall(SETTLE.total_seconds() - 1)
        await hall.look()
        assert await told(store) == []
        clock.step_wall(2)
        fresh = await life.submit(2)
        await hall.look()
        # The other was seen last an hour ago, and jobs that are younger than it takes to write an entry are left alone.
        assert await told(store) == [young, owed]
        assert fresh not in await told(store)
        hall.leads = False
        hall.present = ("you",)
        await hall.look()
        clock.step_wall(60)
        await hall.look()
        assert fresh not in await told(store)

    run(tmp_path, work)
