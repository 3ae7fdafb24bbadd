-- Batches: many jobs accepted at once. Every batch is read with the columns of rows.batch, in that order.

-- name: known_batch
SELECT id, body_digest FROM batches WHERE tenant = ?1 AND key = ?2

-- name: add_batch
INSERT INTO batches (id, tenant, name, total, actor, created_at, key, body_digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)

-- name: add_batch_job
INSERT INTO batch_jobs (batch, job) VALUES (?1, ?2)

-- name: batch
SELECT number, id, tenant, name, total, actor, created_at FROM batches WHERE id = ?1

-- name: batches
SELECT number, id, tenant, name, total, actor, created_at FROM batches WHERE number < ?1 ORDER BY number DESC LIMIT ?2

-- name: batches_of_tenant
SELECT number, id, tenant, name, total, actor, created_at FROM batches
WHERE tenant = ?3 AND number < ?1 ORDER BY number DESC LIMIT ?2

-- name: batch_counts
-- Of the jobs of a batch, by state: how many, and how far those have come together that were not split, and how many were.
SELECT j.state, count(*), coalesce(sum(p.fraction), 0.0), count(t.split)
FROM batch_jobs b JOIN jobs j ON j.number = b.job LEFT JOIN tasks t ON t.job = b.job AND t.position = 1
LEFT JOIN progress p ON t.split IS NULL AND p.job = t.job AND p.position = t.position AND p.attempt = t.attempt
WHERE b.batch = ?1 GROUP BY j.state

-- name: batch_splits
-- The jobs of a batch that were split and have not ended: no more than workers run at a time.
SELECT b.job FROM batch_jobs b JOIN tasks t ON t.job = b.job AND t.position = 1
WHERE b.batch = ?1 AND t.split IS NOT NULL AND t.state NOT IN ('completed', 'failed', 'canceled', 'rejected')

-- name: batch_page
SELECT b.job FROM batch_jobs b JOIN jobs j ON j.number = b.job
WHERE b.batch = ?1 AND b.job > ?2 AND (?3 = '[]' OR j.state IN (SELECT value FROM json_each(?3)))
ORDER BY b.job LIMIT ?4

-- name: forget_batches
DELETE FROM batches WHERE number IN (
  SELECT number FROM batches WHERE NOT EXISTS (SELECT 1 FROM batch_jobs WHERE batch = number) LIMIT ?1) RETURNING number
