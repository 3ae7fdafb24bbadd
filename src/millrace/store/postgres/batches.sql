-- Batches: many jobs accepted at once. Every batch is read with the columns of rows.batch, in that order.

-- name: known_batch
SELECT id, body_digest FROM batches WHERE tenant = $1 AND key = $2

-- name: add_batch
-- Nothing where a rival has just added the key; it is waited for.
INSERT INTO batches (id, tenant, name, total, actor, created_at, key, body_digest)
VALUES ($1, $2, $3, $4, $5, now_ms(), $6, $7)
ON CONFLICT (tenant, key) WHERE key IS NOT NULL DO NOTHING RETURNING number

-- name: add_batch_job
INSERT INTO batch_jobs (batch, job) SELECT $1, unnest($2::bigint[])

-- name: batch
SELECT number, id, tenant, name, total, actor, created_at FROM batches WHERE id = $1

-- name: batches
SELECT number, id, tenant, name, total, actor, created_at FROM batches WHERE number < $1 ORDER BY number DESC LIMIT $2

-- name: batches_of_tenant
SELECT number, id, tenant, name, total, actor, created_at FROM batches
WHERE tenant = $3 AND number < $1 ORDER BY number DESC LIMIT $2

-- name: batch_counts
-- Of the jobs of a batch, by state: how many, and how far those that run have come together that were not split, and how many
-- were. Each row is looked up by its key, whatever the planner knows of the tables.
SELECT t.state, count(*), coalesce(sum(p.fraction), 0.0), count(t.split)
FROM batch_jobs b
CROSS JOIN LATERAL (SELECT job, position, attempt, split, CASE WHEN split IS NOT NULL AND state IN ('pending', 'queued', 'assigned') THEN 'processing' ELSE state END AS state FROM tasks WHERE job = b.job AND position = 1 LIMIT 1) t
LEFT JOIN LATERAL (
  SELECT fraction FROM progress
  WHERE t.split IS NULL AND t.state IN ('assigned', 'processing', 'paused') AND job = t.job AND position = t.position AND attempt = t.attempt
  LIMIT 1) p ON true
WHERE b.batch = $1 GROUP BY t.state

-- name: batch_splits
-- The jobs of a batch that were split and have not ended: no more than workers run at a time.
SELECT b.job FROM batch_jobs b
CROSS JOIN LATERAL (SELECT split, state FROM tasks WHERE job = b.job AND position = 1 LIMIT 1) t
WHERE b.batch = $1 AND t.split IS NOT NULL AND t.state NOT IN ('completed', 'failed', 'canceled', 'rejected')

-- name: batch_page
SELECT b.job FROM batch_jobs b
CROSS JOIN LATERAL (SELECT CASE WHEN split IS NOT NULL AND state IN ('pending', 'queued', 'assigned') THEN 'processing' ELSE state END AS state FROM tasks WHERE job = b.job AND position = 1 LIMIT 1) t
WHERE b.batch = $1 AND b.job > $2 AND (cardinality($3::text[]) = 0 OR t.state = ANY ($3::text[]))
ORDER BY b.job LIMIT $4

-- name: forget_batches
DELETE FROM batches WHERE number IN (
  SELECT number FROM batches WHERE NOT EXISTS (SELECT FROM batch_jobs WHERE batch = number) LIMIT $1) RETURNING number
