"""Fill a farm's database by SQL: copies of jobs that the API accepted, and a history of finished ones."""

import asyncio
from collections.abc import Mapping

import apsw
import asyncpg

from bench.servers import Farm

ELSEWHERE = {"requires": {"site": "elsewhere"}}
"""What no node of the bench offers."""

# {key} is an id for the copy at place n from 1, {series} gives the places, {number} is the job that is copied, {base} the
# highest number so far. What SQLite keeps of a job's state in `jobs`, PostgreSQL keeps in `tasks` ({of_job}, {of_task}).
_COPIES = """
INSERT INTO jobs (number, id, tenant, queue, priority, labels, profile, max_retries, created_at{of_job})
SELECT {base} + n, {key}, j.tenant, j.queue, j.priority, j.labels, j.profile, j.max_retries, j.created_at{of_job_values}
FROM {series} CROSS JOIN jobs j JOIN tasks t ON t.job = j.number AND t.position = 1 WHERE j.number = {number};
INSERT INTO job_specs (job, spec)
SELECT {base} + n, s.spec FROM {series} CROSS JOIN job_specs s WHERE s.job = {number};
INSERT INTO tasks (job, position, class_id, rank, max_retries, state, queued_at)
SELECT {base} + n, 1, t.class_id, t.rank, t.max_retries, 'queued', t.queued_at
FROM {series} CROSS JOIN tasks t WHERE t.job = {number} AND t.position = 1;
INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
SELECT {base} + n, 1, NULL, 'queued', x.at, 'accepted', 0, x.actor
FROM {series} CROSS JOIN (SELECT * FROM transitions WHERE job = {number} ORDER BY seq LIMIT 1) x;
"""
_COPIED = {
    "sqlite": {"of_job": ", state, queued_at", "of_job_values": ", 'queued', t.queued_at"},
    "postgres": {"of_job": "", "of_job_values": ""},
}

_FINISHED = """
INSERT INTO jobs (number, id, tenant, queue, priority, labels, profile, max_retries, created_at{of_job})
SELECT {base} + n, {key}, j.tenant, j.queue, j.priority, j.labels, j.profile, j.max_retries, j.created_at{of_job_values}
FROM {series} CROSS JOIN jobs j JOIN tasks t ON t.job = j.number AND t.position = 1 WHERE j.number = {number};
INSERT INTO job_specs (job, spec) SELECT {base} + n, '{{}}' FROM {series};
INSERT INTO tasks (job, position, class_id, rank, max_retries, state, attempt, queued_at{of_task})
SELECT {base} + n, 1, t.class_id, t.rank, t.max_retries, 'completed', 1, t.queued_at{of_task_values}
FROM {series} CROSS JOIN tasks t WHERE t.job = {number} AND t.position = 1;
INSERT INTO attempts (job, position, attempt, node_id, node_name, claim_request, claimed_at, ended_at, outcome)
SELECT {base} + n, 1, 1, 'gone', 'gone', 'gone', x.at, x.at, 'completed'
FROM {series} CROSS JOIN (SELECT * FROM transitions WHERE job = {number} ORDER BY seq LIMIT 1) x;
INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
SELECT {base} + n, 1, 'assigned', 'completed', x.at, 'done', 1, 'bench'
FROM {series} CROSS JOIN (SELECT * FROM transitions WHERE job = {number} ORDER BY seq LIMIT 1) x;
"""
_ENDED = {
    "sqlite": {
        "of_job": ", state, queued_at, started_at, finished_at",
        "of_job_values": ", 'completed', t.queued_at, t.queued_at, t.queued_at",
        "of_task": "",
        "of_task_values": "",
    },
    "postgres": {
        "of_job": "",
        "of_job_values": "",
        "of_task": ", started_at, finished_at",
        "of_task_values": ", t.queued_at, t.queued_at",
    },
}


def accepted(farm: Farm, **more: object) -> int:
    """The number of a job that the API has just accepted."""
    body = {"input": "/media/film.mp4", "output": "/media/out/film", "profile": "web-hls", **more}
    return int(farm.masters[0].post("/v1/jobs", body)["number"])


def queue(farm: Farm, count: int, number: int) -> None:
    """Queue `count` copies of a job, with its rank."""
    _fill(farm, _COPIES, _COPIED, count, number)


def finish(farm: Farm, count: int, number: int) -> None:
    """Add `count` jobs that look like this one, long completed; their specs are empty to save the disk."""
    _fill(farm, _FINISHED, _ENDED, count, number)


def _fill(farm: Farm, statements: str, parts: Mapping[str, Mapping[str, str]], count: int, number: int) -> None:
    if farm.databases:
        asyncio.run(_fill_postgres(farm.url, statements, parts["postgres"], count, number))
        return
    connection = apsw.Connection(farm.url)
    connection.execute("PRAGMA busy_timeout = 20000")
    connection.execute("PRAGMA cache_size = -262144")
    connection.execute("BEGIN IMMEDIATE")
    ((base,),) = connection.execute("SELECT max(number) FROM jobs")
    connection.execute("CREATE TEMP TABLE series (n INTEGER PRIMARY KEY)")
    connection.execute(
        "INSERT INTO series WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < ?) SELECT n FROM s",
        (count,),
    )
    key = f"printf('j%032x', {base} + n)"
    connection.execute(statements.format(base=base, key=key, series="series", number=number, **parts["sqlite"]))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.close()


async def _fill_postgres(url: str, statements: str, parts: Mapping[str, str], count: int, number: int) -> None:
    connection = await asyncpg.connect(url)
    base = await connection.fetchval("SELECT max(number) FROM jobs")
    key = f"'j' || lpad(to_hex({base} + n), 32, '0')"
    series = f"generate_series(1, {count}) n"
    await connection.execute(statements.format(base=base, key=key, series=series, number=number, **parts))
    await connection.execute(f"SELECT setval(pg_get_serial_sequence('jobs', 'number'), {base + count})")
    await connection.execute("CHECKPOINT")
    await connection.close()
