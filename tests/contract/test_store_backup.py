"""A copy of a database: whole, as of one moment, and fenced off from what happened after it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from store_samples import NEEDS, a_node, completes, queue_jobs

from millrace.domain.records import Claimed, Job, Node
from millrace.domain.webhooks import NewWebhook
from millrace.runtime.clock import SystemClock
from millrace.store.open import copier_for, open_store
from millrace.store.store import SchemaTooNewError, Store, StoreBusyError, StoreError


@pytest.fixture
def place(farm: Any) -> str:
    """Where the started store lies."""
    return str(farm.path) if farm.kind == "sqlite" else str(farm.url)


@pytest.fixture
def elsewhere(farm: Any, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where there is nothing yet."""
    return str(tmp_path / "other" / "farm.db") if farm.kind == "sqlite" else request.getfixturevalue("new_database")()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "copy"
    path.mkdir()
    return path


async def _all(store: Store, tasks: list[str]) -> list[Any]:
    """Everything that can be asked about these jobs, but for cursors: those are the database's own."""
    found: list[Any] = []
    for task in tasks:
        job = task.partition(".")[0]
        found += [await store.job(job), await store.attempts(job), await store.outputs(job), await store.facts(job)]
        found += [
            (one.number, one.source, one.target, one.at, one.reason, one.attempt, one.actor)
            for one in await store.transitions(job)
        ]
    return found


@asynccontextmanager
async def _opened(place: str) -> AsyncIterator[Store]:
    store = open_store(place, clock=SystemClock())
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def _job(store: Store, task: str) -> Job:
    job = await store.job(task.partition(".")[0])
    assert job is not None
    return job


async def _claimed(store: Store, limit: int) -> tuple[Node, Sequence[Claimed]]:
    node = await store.register(a_node())
    classes = [await store.class_of(NEEDS)]
    given = await store.claim(node_id=node.id, epoch=node.epoch, request_id="r", classes=classes, limit=limit)
    assert given is not None
    return node, given


def test_a_copy_is_the_database_as_it_was(farm: Any, place: str, elsewhere: str, folder: Path) -> None:
    async def work() -> None:
        tasks = await queue_jobs(farm.store, 5)
        _, (held, done) = await _claimed(farm.store, 2)
        assert await farm.store.move([completes(done.task_id, done.attempt)]) == [True]
        assert await farm.store.append_log(done.task_id, 1, offset=0, data=b"a\tb\\n\x00\xff\n") == 8
        copy = await copier_for(place).save(folder)
        before = await _all(farm.store, tasks)
        (later,) = await queue_jobs(farm.store, 1)
        assert (copy.kind, copy.jobs) == ("sqlite" if farm.kind == "sqlite" else "postgresql", 5)
        await copier_for(elsewhere).check_new()
        await copier_for(elsewhere).load(folder, copy)
        async with _opened(elsewhere) as other:
            assert await _all(other, tasks) == before
            assert await other.read_log(done.task_id, 1, offset=0, limit=99) == b"a\tb\\n\x00\xff\n"
            assert await other.job(later.partition(".")[0]) is None
            (fresh,) = await queue_jobs(other, 1)
            assert (await _job(other, fresh)).number == 6
            assert held.task_id in {task.id for task in await other.orphans(limit=9)}

    farm.run(work())


def test_the_epochs_of_a_copy_were_never_given_out(farm: Any, place: str, elsewhere: str, folder: Path) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 1)
        node = await farm.store.register(a_node())
        copy = await copier_for(place).save(folder)
        for boot in range(5):
            node = await farm.store.register(a_node(id=node.id, fingerprint=node.fingerprint, boot_id=f"later-{boot}"))
        await copier_for(elsewhere).load(folder, copy)
        async with _opened(elsewhere) as other:
            assert await other.heartbeat(node_id=node.id, epoch=node.epoch, ttl_s=30.0, reports=()) is None
            again = await other.register(a_node(id=node.id, fingerprint=node.fingerprint, boot_id="later-0"))
            assert again.epoch > node.epoch

    farm.run(work())


def test_events_of_a_copy_are_told_and_new_ones_come_after_them(
    farm: Any, place: str, elsewhere: str, folder: Path
) -> None:
    """Also on a server that is younger than the one of the copy, and to whoever heard events that the copy does not have."""

    async def work() -> None:
        await queue_jobs(farm.store, 3)
        if farm.kind == "postgres":
            connection = await asyncpg.connect(place)
            await connection.execute("UPDATE transitions SET xid = '4000000000'")
            await connection.close()
        copy = await copier_for(place).save(folder)
        await queue_jobs(farm.store, 1)
        last = await farm.store.last_cursor()
        await copier_for(elsewhere).load(folder, copy)
        async with _opened(elsewhere) as other:
            old = await other.events(after=None, limit=99)
            assert [one.number for one in old] == [1, 2, 3]
            await queue_jobs(other, 1)
            for heard in (old[-1].cursor, last) if farm.kind == "sqlite" else (old[-1].cursor,):
                while not (new := await other.events(after=heard, limit=99)):
                    await asyncio.sleep(0)  # one turn of the loop, no waiting
                assert [one.number for one in new] == [4]

    farm.run(work())


def test_webhooks_of_a_copy_hear_what_they_had_not_heard_and_go_on(
    farm: Any, place: str, elsewhere: str, folder: Path
) -> None:
    async def work() -> None:
        webhook = NewWebhook(id="w1", tenant="", url="https://x.example", events=("*",), secret="whsec_", actor="test")
        await farm.store.add_webhook(webhook)
        await queue_jobs(farm.store, 3)
        await farm.events(3)
        assert await farm.store.relay_messages(limit=2) == 2
        copy = await copier_for(place).save(folder)
        await copier_for(elsewhere).load(folder, copy)
        async with _opened(elsewhere) as other:
            await queue_jobs(other, 1)
            async with asyncio.timeout(30):
                while (heard := await _heard(other)) != [1, 2, 3, 4]:
                    assert heard == [1, 2, 3, 4][: len(heard)]
                    await other.relay_messages(limit=9)

    farm.run(work())


async def _heard(store: Store) -> list[int]:
    return [one.number for one in reversed(await store.deliveries("w1", state=None, below=None, limit=99))]


def test_a_farm_is_never_restored_over_another(farm: Any, place: str, elsewhere: str, folder: Path) -> None:
    async def work() -> None:
        tasks = await queue_jobs(farm.store, 1)
        copy = await copier_for(place).save(folder)
        for attempt in (copier_for(place).check_new(), copier_for(place).load(folder, copy)):
            with pytest.raises(StoreBusyError, match="cannot restore to"):
                await attempt
        assert await farm.store.job(tasks[0].partition(".")[0]) is not None
        with pytest.raises(StoreError, match="cannot copy"):
            await copier_for(elsewhere).save(folder)

    farm.run(work())


def test_a_copy_of_a_newer_schema_is_refused(farm: Any, place: str, elsewhere: str, folder: Path) -> None:
    async def work() -> None:
        copy = await copier_for(place).save(folder)
        with pytest.raises(SchemaTooNewError):
            await copier_for(elsewhere).load(folder, replace(copy, schema=copy.schema + 1))
        await copier_for(elsewhere).check_new()

    farm.run(work())


def _damage(path: Path, *, whole_pages: bool) -> None:
    """Of a database in pages, one in the middle, which opening it does not read; of others, all behind the middle."""
    data, middle = path.read_bytes(), path.stat().st_size // 8192 * 4096
    path.write_bytes(data[:middle] + b"\xff" * 4096 + data[middle + 4096 :] if whole_pages else data[: len(data) // 2])


def test_of_a_copy_that_cannot_be_taken_in_whole_nothing_stays(
    farm: Any, place: str, elsewhere: str, folder: Path
) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 2)
        copy = await copier_for(place).save(folder)
        _damage(folder / copy.files[-1], whole_pages=farm.kind == "sqlite")
        with pytest.raises(StoreError):
            await copier_for(elsewhere).load(folder, copy)
        await copier_for(elsewhere).check_new()

    farm.run(work())


def test_a_copy_is_of_one_moment_while_others_write(farm: Any, place: str, elsewhere: str, folder: Path) -> None:
    """Every job that the copy has is whole: its task and its first transition are there too."""

    async def work() -> None:
        going = True

        async def write() -> list[str]:
            added: list[str] = []
            while going:
                added += await queue_jobs(farm.store, 3)
            return added

        await queue_jobs(farm.store, 20)
        writing = asyncio.create_task(write())
        copy = await copier_for(place).save(folder)
        going = False
        added = await writing
        await copier_for(elsewhere).load(folder, copy)
        async with _opened(elsewhere) as other:
            kept = [task for task in added if await other.job(task.partition(".")[0]) is not None]
            assert copy.jobs == 20 + len(kept)
            assert kept == added[: len(kept)]
            for task in kept:
                assert await other.task(task) is not None
                assert len(await other.transitions(task.partition(".")[0])) == 1

    farm.run(work())
