"""What a store does when something breaks: a killed process, a full or broken disk, a second master, a lost server."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest
from store_samples import NEEDS, a_job, a_move, a_node, queue_jobs, until_blocked

from millrace.domain.records import Move, NodeState
from millrace.domain.states import State
from millrace.runtime.clock import SystemClock
from millrace.store.open import open_store
from millrace.store.sqlite import connection
from millrace.store.sqlite.driver import SqliteStore
from millrace.store.store import (
    Hint,
    StoreBrokenError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)

_ADD_AND_REPORT = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from store_samples import queue_jobs
from millrace.store.open import open_store
from millrace.store.sqlite import connection

async def main():
    store = open_store(sys.argv[1])
    await store.start()
    (task,) = await queue_jobs(store, 1)
    print(task, flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


def _child(url: str) -> tuple[subprocess.Popen[str], str]:
    """A process that holds the store and has just added a job; and the job's task."""
    child = subprocess.Popen(
        [sys.executable, "-c", _ADD_AND_REPORT, url, str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


def _kill(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate()


def test_a_job_is_there_when_its_master_is_killed_after_accepting_it(farm: Any) -> None:
    url = str(farm.path) if farm.kind == "sqlite" else farm.url
    farm.run(farm.store.stop())
    child, task = _child(url)
    _kill(child)

    async def work() -> None:
        await farm.store.start()
        assert (await farm.store.task(task)).state is State.QUEUED

    farm.run(work())


def test_a_sqlite_that_may_damage_its_own_log_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StoreError, match=r"cannot use SQLite 3\.51\.2: 3\.51\.3 or newer is needed"):
        connection.open_connection(tmp_path / "farm.db", readonly=False)


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    child, task = _child(str(tmp_path / "farm.db"))
    try:
        store = open_store(tmp_path / "farm.db")
        with pytest.raises(StoreBusyError, match=f"pid {child.pid} "):
            asyncio.run(store.start())
    finally:
        _kill(child)

    async def work() -> None:
        await store.start()
        assert await store.task(task) is not None
        await store.stop()

    asyncio.run(work())


def test_one_bad_request_does_not_fail_its_neighbours(farm: Any) -> None:
    async def work() -> None:
        class_id = await farm.store.class_of(NEEDS)
        taken = a_job(class_id)
        await farm.store.add_jobs([taken])
        calls = [farm.store.add_jobs([a_job(class_id)]) for _ in range(5)]
        calls[2:2] = [farm.store.add_jobs([a_job(class_id), taken])]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(answer, StoreError) for answer in answers] == [False, False, True, False, False, False]
        assert await farm.store.count_jobs() == {State.QUEUED: 6}

    farm.run(work())


def test_a_stopped_store_says_so(farm: Any) -> None:
    farm.run(farm.store.stop())
    for call in (farm.store.ping, farm.store.count_jobs, lambda: farm.store.add_jobs([])):
        with pytest.raises(StoreUnavailableError):
            farm.run(call())


def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    async def work() -> None:
        store = SqliteStore(tmp_path / "farm.db", clock=SystemClock())
        await store.start()
        await queue_jobs(store, 1)
        writer = store._writer._connection  # type: ignore[union-attr]
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        big = {"spec": {"text": "x" * 100_000}}
        with pytest.raises(StoreFullError, match="no space"):
            await queue_jobs(store, 1, **big)
        assert await store.count_jobs() == {State.QUEUED: 1}
        writer.execute("PRAGMA max_page_count = 1000000").fetchall()
        await queue_jobs(store, 1, **big)
        await store.ping()
        await store.stop()

    asyncio.run(work())


class _BrokenDisk(apsw.VFS):
    """The system's files, whose fsync of the log fails while `broken`, and which take no byte more while `full` or `read_only`."""

    broken = False
    full = False
    read_only = False

    def __init__(self) -> None:
        super().__init__("broken-disk", "")
        self.written: list[str] = []

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802  SQLite's name
        return _BrokenFile(self, name, flags)


class _BrokenFile(apsw.VFSFile):
    def __init__(self, disk: _BrokenDisk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name).name

    def xSync(self, flags: int) -> None:  # noqa: N802  SQLite's name
        if self._disk.broken:
            raise apsw.IOError
        super().xSync(flags)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802  SQLite's name
        if self._disk.full:
            raise apsw.FullError
        if self._disk.read_only:
            raise apsw.IOError  # what SQLite makes of EROFS
        super().xWrite(data, offset)
        self._disk.written.append(self._name)


def test_a_trial_tells_whether_there_is_space(tmp_path: Path) -> None:
    disk = _BrokenDisk()

    async def work() -> None:
        store = SqliteStore(tmp_path / "farm.db", clock=SystemClock(), vfs="broken-disk")
        await store.start()
        for _ in range(2):
            disk.full = True
            for _ in range(2):
                with pytest.raises(StoreFullError, match="no space"):
                    await store.try_write()
            await store.ping()
            disk.full = False
            await store.try_write()
        await queue_jobs(store, 1)
        await store.stop()

    asyncio.run(work())


def test_a_trial_has_no_effect(farm: Any) -> None:
    async def work() -> None:
        await farm.store.try_write()
        await farm.store.stop()
        await farm.store.start()
        await farm.store.try_write()

    farm.run(work())


def test_after_a_failed_fsync_nothing_is_ever_written_again(tmp_path: Path) -> None:
    disk = _BrokenDisk()

    async def work() -> None:
        heard: list[StoreBrokenError] = []
        store = SqliteStore(tmp_path / "farm.db", clock=SystemClock(), vfs="broken-disk", on_broken=heard.append)
        await store.start()
        (kept,) = await queue_jobs(store, 1)
        disk.broken = True
        with pytest.raises(StoreUnavailableError, match="cannot use the database"):
            await queue_jobs(store, 1)
        # The disk says that all is well again; it must not be believed.
        disk.broken = False
        with pytest.raises(StoreUnavailableError):
            await queue_jobs(store, 1)
        with pytest.raises(StoreUnavailableError):
            await store.ping()
        assert len(heard) == 1
        assert str(heard[0]).startswith(f"cannot use the database {tmp_path / 'farm.db'}: ")
        written = len(disk.written)
        await store.stop()
        assert disk.written[written:] == []
        again = SqliteStore(tmp_path / "farm.db", clock=SystemClock())
        await again.start()
        assert await again.task(kept) is not None
        await again.stop()

    asyncio.run(work())


def test_a_disk_that_becomes_read_only_ends_the_store(tmp_path: Path) -> None:
    disk = _BrokenDisk()

    async def work() -> None:
        heard: list[StoreBrokenError] = []
        store = SqliteStore(tmp_path / "farm.db", clock=SystemClock(), vfs="broken-disk", on_broken=heard.append)
        await store.start()
        (kept,) = await queue_jobs(store, 1)
        disk.read_only = True
        with pytest.raises(StoreUnavailableError, match="cannot use the database"):
            await queue_jobs(store, 1)
        assert len(heard) == 1
        assert "look at the disk" in str(heard[0])
        await store.stop()
        again = SqliteStore(tmp_path / "farm.db", clock=SystemClock())
        await again.start()
        assert await again.count_jobs() == {State.QUEUED: 1}
        assert await again.task(kept) is not None
        await again.stop()

    asyncio.run(work())


def test_somebody_who_reads_for_long_holds_nothing_up_and_the_log_shrinks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LOG_BYTES", 1 << 20)
    log = tmp_path / "farm.db-wal"

    async def work() -> None:
        store = SqliteStore(tmp_path / "farm.db", clock=SystemClock())
        await store.start()
        (first,) = await queue_jobs(store, 1)
        reader = apsw.Connection(str(tmp_path / "farm.db"), flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM jobs").fetchall() == [(1,)]
        large = {"spec": {"text": "x" * 100_000}}
        for _ in range(60):
            await queue_jobs(store, 1, **large)
        assert log.stat().st_size > 5 << 20  # it cannot be begun anew under who reads
        assert reader.execute("SELECT count(*) FROM jobs").fetchall() == [(1,)]
        assert await store.move([a_move(first, State.CANCELED)]) == [True]
        reader.execute("COMMIT")
        reader.close()
        for _ in range(2):
            await queue_jobs(store, 1, **large)
        assert log.stat().st_size <= 1 << 20
        assert sum((await store.count_jobs()).values()) == 63
        await store.stop()

    asyncio.run(work())


def test_a_rival_that_locks_the_database_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has a shell open on it: what is asked meanwhile fails, and then it works again."""
    monkeypatch.setattr(connection, "_PRAGMAS", ("PRAGMA busy_timeout = 1",))

    async def work() -> None:
        store = SqliteStore(tmp_path / "farm.db", clock=SystemClock())
        await store.start()
        rival = apsw.Connection(str(tmp_path / "farm.db"))
        rival.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="another program locks it"):
            await queue_jobs(store, 1)
        rival.execute("ROLLBACK")
        rival.close()
        await store.ping()
        assert len(await queue_jobs(store, 1)) == 1
        await store.stop()

    asyncio.run(work())


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    path.write_bytes(os.urandom(8192))
    store = open_store(path)
    with pytest.raises(StoreUnavailableError, match=r"farm\.db"):
        asyncio.run(store.start())
    asyncio.run(store.stop())


def test_no_server_is_unavailable() -> None:
    store = open_store("postgresql://postgres@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailableError, match="cannot reach PostgreSQL"):
        asyncio.run(store.start())
    asyncio.run(store.stop())


@pytest.fixture
def url(new_database: Any) -> str:
    return str(new_database())


async def _kill_connections(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'millrace'"
        " AND datname = current_database()"
    )
    await connection.close()


def test_a_lost_server_is_unavailable_and_comes_back(url: str) -> None:
    async def work() -> None:
        store = open_store(url)
        await store.start()
        heard: asyncio.Queue[tuple[Hint, int | None]] = asyncio.Queue()
        other = open_store(url)
        await other.start()
        other.listen(lambda hint, class_id: heard.put_nowait((hint, class_id)))
        await queue_jobs(store, 1)
        await _kill_connections(url)
        # One failure for each dead connection of the pool at most; then it works again.
        for _ in range(10):
            try:
                await store.ping()
                break
            except StoreUnavailableError:
                continue
        await queue_jobs(store, 1)
        assert await store.count_jobs() == {State.QUEUED: 2}
        # The listener has come back too: it hears what happens after.
        class_id = await store.class_of(NEEDS)
        while await heard.get() != (Hint.CHANGED, None):
            pass
        await queue_jobs(store, 1)
        while await heard.get() != (Hint.QUEUED, class_id):
            pass
        await store.stop()
        await other.stop()

    asyncio.run(work())


def test_masters_hear_each_other(url: str) -> None:
    async def work() -> None:
        speaker, hearer = open_store(url), open_store(url)
        await speaker.start()
        await hearer.start()
        heard: asyncio.Queue[tuple[Hint, int | None]] = asyncio.Queue()
        hearer.listen(lambda hint, class_id: heard.put_nowait((hint, class_id)))
        await queue_jobs(speaker, 3)
        class_id = await speaker.class_of(NEEDS)
        assert {await heard.get(), await heard.get()} == {(Hint.QUEUED, class_id), (Hint.CHANGED, None)}
        await speaker.stop()
        await hearer.stop()

    asyncio.run(work())


def test_two_masters_never_give_one_task_twice(url: str) -> None:
    async def work() -> None:
        masters = [open_store(url) for _ in range(3)]
        for master in masters:
            await master.start()
        tasks = await queue_jobs(masters[0], 90)
        class_id = await masters[0].class_of(NEEDS)
        node = await masters[0].register(a_node())

        async def claim(number: int) -> list[str]:
            found = await masters[number % 3].claim(
                node_id=node.id, epoch=1, request_id=f"r{number // 3}", classes=[class_id], limit=3
            )
            return [one.task_id for one in found or ()]

        # Each request reaches all three masters at once, as after lost replies.
        answers = await asyncio.gather(*(claim(number) for number in range(90)))
        for number in range(0, 90, 3):
            assert answers[number] == answers[number + 1] == answers[number + 2]
        given = [task for answer in answers[::3] for task in answer]
        assert sorted(given) == sorted(tasks)
        rivals = [master.move([a_move(task, State.PROCESSING)]) for task in tasks for master in masters]
        moved = await asyncio.gather(*rivals)
        assert sum(answer == [True] for answer in moved) == 90
        for master in masters:
            await master.stop()

    asyncio.run(work())


def test_the_same_key_at_two_masters_is_one_job(url: str) -> None:
    async def work() -> None:
        masters = [open_store(url) for _ in range(2)]
        for master in masters:
            await master.start()
        class_id = await masters[0].class_of(NEEDS)
        calls = [
            masters[number % 2].add_jobs([a_job(class_id, idempotency_key=f"k{number // 4}", body_digest="d")])
            for number in range(40)
        ]
        answers = [answer[0] for answer in await asyncio.gather(*calls)]
        for first in range(0, 40, 4):
            assert len({answer.id for answer in answers[first : first + 4]}) == 1
            assert sum(not answer.repeated for answer in answers[first : first + 4]) == 1
        assert await masters[0].count_jobs() == {State.QUEUED: 10}
        for master in masters:
            await master.stop()

    asyncio.run(work())


def test_no_event_appears_before_one_that_was_read(url: str) -> None:
    """A transaction that began earlier and commits later holds back what came after it."""

    async def work() -> None:
        store = open_store(url)
        await store.start()
        (first, second) = await queue_jobs(store, 2)
        start = await _settled(store)
        slow = await asyncpg.connect(url)
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(
            "INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)"
            " SELECT number, 1, 'queued', 'paused', 0, 'slow', 0, 'test' FROM jobs WHERE id = $1",
            first.partition(".")[0],
        )
        assert await store.move([a_move(second, State.CANCELED)]) == [True]
        assert list(await store.events(after=start, limit=10)) == []
        assert await store.last_cursor() == start
        await transaction.commit()
        await slow.close()
        while len(found := await store.events(after=start, limit=10)) < 2:
            await asyncio.sleep(0)  # one turn of the loop, no waiting
        assert [event.reason for event in found] == ["slow", "for a test"]
        await store.stop()

    asyncio.run(work())


async def _settled(store: Any) -> str:
    """The cursor of the second event, once no transaction elsewhere holds it back."""
    while len(found := await store.events(after=None, limit=10)) < 2:
        await asyncio.sleep(0)  # one turn of the loop, no waiting
    return str(found[-1].cursor)


@pytest.mark.parametrize(
    "rival_does", ["SELECT * FROM tasks WHERE {it} FOR UPDATE", "UPDATE tasks SET spent = 5 WHERE {it}"]
)
def test_a_locked_task_does_not_hold_up_the_moves_of_others(url: str, rival_does: str) -> None:
    async def work() -> None:
        store = open_store(url)
        await store.start()
        tasks = await queue_jobs(store, 3)
        rival = await asyncpg.connect(url)
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute(rival_does.format(it="job = (SELECT min(number) FROM jobs)"))

        async def move(task: str) -> list[bool]:
            change: Move = a_move(task, State.CANCELED)
            return list(await store.move([change]))

        # The first move makes the others wait for one batch; that batch passes the locked task by.
        pending = [asyncio.create_task(move(task)) for task in (tasks[1], tasks[0], tasks[2])]
        while (await store.count_jobs()).get(State.CANCELED, 0) < 2:
            await asyncio.sleep(0)  # one turn of the loop, no waiting
        await until_blocked(rival)
        assert not pending[1].done()
        await transaction.commit()
        assert [await one for one in pending] == [[True], [True], [True]]
        spent = (await store.task(tasks[0])).spent
        assert spent == (5 if "spent" in rival_does else 0)
        await rival.close()
        await store.stop()

    asyncio.run(work())


def test_a_claim_and_the_removal_of_its_node_never_both_happen(url: str) -> None:
    async def work() -> None:
        store = open_store(url)
        await store.start()
        (task,) = await queue_jobs(store, 1)
        class_id = await store.class_of(NEEDS)
        node = await store.register(a_node())
        rival = await asyncpg.connect(url)
        # A claim elsewhere has given the node a task and is about to commit.
        claim = rival.transaction()
        await claim.start()
        await rival.execute("SELECT FROM claims_gate FOR KEY SHARE")
        await rival.execute(
            "UPDATE tasks SET state = 'assigned', node_id = $1, node_epoch = 1, claim_request = 'r', seat = 1", node.id
        )
        removal = asyncio.create_task(store.remove_node(node.id))
        await until_blocked(rival)
        await claim.commit()
        assert await removal is False
        assert await store.move([a_move(task, State.QUEUED)]) == [True]
        # A removal elsewhere is about to commit.
        removing = rival.transaction()
        await removing.start()
        await rival.execute("LOCK TABLE claims_gate IN EXCLUSIVE MODE")
        await rival.execute("DELETE FROM nodes")
        asked = {"node_id": node.id, "epoch": 1, "request_id": "s", "classes": [class_id], "limit": 1}
        claimed = asyncio.create_task(store.claim(**asked))
        await until_blocked(rival)
        await removing.commit()
        assert await claimed is None
        assert (await store.task(task)).state is State.QUEUED
        await rival.close()
        await store.stop()

    asyncio.run(work())


def test_a_heartbeat_outlives_a_rival_of_its_node(url: str) -> None:
    async def work() -> None:
        store = open_store(url)
        await store.start()
        node = await store.register(a_node())
        rival = await asyncpg.connect(url)
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute("UPDATE nodes SET state = 'draining'")
        beat = asyncio.create_task(store.heartbeat(node_id=node.id, epoch=1, ttl_s=30.0, reports=[]))
        await until_blocked(rival)
        await transaction.commit()
        found = await beat
        assert found is not None
        assert found.node.state is NodeState.DRAINING
        await rival.close()
        await store.stop()

    asyncio.run(work())


def test_a_request_that_another_master_is_serving_is_served_once(url: str) -> None:
    async def work() -> None:
        store = open_store(url)
        await store.start()
        first, second = await queue_jobs(store, 2)
        class_id = await store.class_of(NEEDS)
        node = await store.register(a_node())
        rival = await asyncpg.connect(url)
        claim = rival.transaction()
        await claim.start()
        await rival.execute(
            "UPDATE tasks SET state = 'assigned', attempt = 1, node_id = $1, node_epoch = 1, claim_request = 'r', seat = 1"
            " WHERE job = (SELECT min(number) FROM jobs)",
            node.id,
        )
        asked = {"node_id": node.id, "epoch": 1, "classes": [class_id], "limit": 1}
        repeated = asyncio.create_task(store.claim(request_id="r", **asked))
        await until_blocked(rival)
        await claim.commit()
        assert [one.task_id for one in await repeated] == [first]
        assert [one.task_id for one in await store.claim(request_id="s", **asked)] == [second]
        await rival.close()
        await store.stop()

    asyncio.run(work())


def test_a_request_that_another_master_is_serving_with_the_last_task_waits_for_it(url: str) -> None:
    async def work() -> None:
        store = open_store(url)
        await store.start()
        (last,) = await queue_jobs(store, 1)
        class_id = await store.class_of(NEEDS)
        node = await store.register(a_node())
        rival = await asyncpg.connect(url)
        claim = rival.transaction()
        await claim.start()
        await rival.execute("SELECT FROM tasks FOR UPDATE")
        await rival.execute(
            "UPDATE tasks SET state = 'assigned', attempt = 1, node_id = $1, node_epoch = 1, claim_request = 'r', seat = 1",
            node.id,
        )
        asked = {"node_id": node.id, "epoch": 1, "classes": [class_id], "limit": 1}
        repeated = asyncio.create_task(store.claim(request_id="r", **asked))
        await until_blocked(rival)
        await claim.commit()
        assert [one.task_id for one in await repeated] == [last]
        assert list(await store.claim(request_id="s", **asked)) == []
        await rival.close()
        await store.stop()

    asyncio.run(work())


def test_requests_that_wait_for_each_other_end_all_the_same(url: str) -> None:
    """Two masters serve the same requests of a node in turn; each is served once."""

    async def work() -> None:
        masters = [open_store(url) for _ in range(2)]
        for master in masters:
            await master.start()
        await queue_jobs(masters[0], 40)
        class_id = await masters[0].class_of(NEEDS)
        node = await masters[0].register(a_node())

        async def claim(master: Any, number: int) -> Any:
            return await master.claim(node_id=node.id, epoch=1, request_id=f"r{number}", classes=[class_id], limit=2)

        forth = [claim(masters[0], number) for number in range(15)]
        back = [claim(masters[1], number) for number in reversed(range(15))]
        answers = await asyncio.gather(*forth, *back)
        assert answers[:15] == answers[:14:-1]
        assert len({one.task_id for answer in answers for one in answer}) == 30
        for master in masters:
            await master.stop()

    asyncio.run(work())
