"""Fill a farm's database by SQL: copies of jobs that the API accepted, and a history of finished ones."""

import asyncio

import apsw
import asyncpg

from bench.servers import Farm

ELSEWHERE = {"requires": {"site": "elsewhere"}}
"""What no node of the bench offers."""

# {n} the place of a copy from 1, {key} an id for it, {series} what gives the places, {number} the job that is copied,
# {base} the highest number so far.
_COPIES = """
INSERT INTO jobs (number, id, tenant, queue, priority, labels, profile, max_retries, state, created_at, queued_at)
SELECT {base} + n, {key}, j.tenant, j.queue, j.priority, j.labels, j.profile, j.max_retries, 'queued', j.created_at,
  j.queued_at FROM {series} CROSS JOIN jobs j WHERE j.number = {number};
INSERT INTO job_specs (job, spec)
SELECT {base} + n, s.spec FROM {series} CROSS JOIN job_specs s WHERE s.job = {number};
INSERT INTO tasks (job, position, class_id, rank, max_retries, state, queued_at)
SELECT {base} + n, 1, t.class_id, t.rank, t.max_retries, 'queued', t.queued_at
FROM {series} CROSS JOIN tasks t WHERE t.job = {number} AND t.position = 1;
INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
SELECT {base} + n, 1, NULL, 'queued', x.at, 'accepted', 0, x.actor
FROM {series} CROSS JOIN (SELECT * FROM transitions WHERE job = {number} ORDER BY seq LIMIT 1) x;
"""

_FINISHED = """
INSERT INTO jobs (number, id, tenant, queue, priority, labels, profile, max_retries, state, created_at, queued_at,
  started_at, finished_at)
SELECT {base} + n, {key}, j.tenant, j.queue, j.priority, j.labels, j.profile, j.max_retries, 'completed', j.created_at,
  j.queued_at, j.queued_at, j.queued_at FROM {series} CROSS JOIN jobs j WHERE j.number = {number};
INSERT INTO job_specs (job, spec) SELECT {base} + n, '{{}}' FROM {series};
INSERT INTO tasks (job, position, class_id, rank, max_retries, state, attempt, queued_at)
SELECT {base} + n, 1, t.class_id, t.rank, t.max_retries, 'completed', 1, t.queued_at
FROM {series} CROSS JOIN tasks t WHERE t.job = {number} AND t.position = 1;
INSERT INTO attempts (job, position, attempt, node_id, node_name, claim_request, claimed_at, ended_at, outcome)
SELECT {base} + n, 1, 1, 'gone', 'gone', 'gone', x.at, x.at, 'completed'
FROM {series} CROSS JOIN (SELECT * FROM transitions WHERE job = {number} ORDER BY seq LIMIT 1) x;
INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
SELECT {base} + n, 1, 'assigned', 'completed', x.at, 'done', 1, 'bench'
FROM {series} CROSS JOIN (SELECT * FROM transitions WHERE job = {number} ORDER BY seq LIMIT 1) x;
"""


def accepted(farm: Farm, **more: object) -> int:
    """The number of a job that the API has just accepted."""
    body = {"input": "/media/film.mp4", "output": "/media/out/film", "profile": "web-hls", **more}
    return int(farm.masters[0].post("/v1/jobs", body)["number"])


def queue(farm: Farm, count: int, number: int) -> None:
    """Queue `count` copies of a job, with its rank."""
    _fill(farm, _COPIES, count, number)


def finish(farm: Farm, count: int, number: int) -> None:
    """Add `count` jobs that look like this one, long completed; their specs are empty to save the disk."""
    _fill(farm, _FINISHED, count, number)


def _fill(farm: Farm, statements: str, count: int, number: int) -> None:
    if farm.databases:
        asyncio.run(_fill_postgres(farm.url, statements, count, number))
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
    connection.execute(statements.format(base=base, key=key, series="series", number=number))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.close()


async def _fill_postgres(url: str, statements: str, count: int, number: int) -> None:
    connection = await asyncpg.connect(url)
    base = await connection.fetchval("SELECT max(number) FROM jobs")
    key = f"'j' || lpad(to_hex({base} + n), 32, '0')"
    series = f"generate_series(1, {count}) n"
    await connection.execute(statements.format(base=base, key=key, series=series, number=number))
    await connection.execute(f"SELECT setval(pg_get_serial_sequence('jobs', 'number'), {base + count})")
    await connection.execute("CHECKPOINT")
    await connection.close()
