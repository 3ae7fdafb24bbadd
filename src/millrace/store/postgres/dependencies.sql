-- Jobs that wait for others. Every task is read with the columns of rows.task, in that order.

-- name: add_dependency
INSERT INTO dependencies (job, after, any_end) VALUES ($1, $2, $3)

-- name: decidable
SELECT d.job FROM dependencies d JOIN tasks w ON w.job = d.job AND w.position = 1
LEFT JOIN tasks a ON a.job = d.after AND a.position = 1
WHERE w.state <> 'paused'
GROUP BY d.job
HAVING count(*) = count(a.finished_at)
  OR bool_or(a.job IS NULL OR (NOT d.any_end AND a.finished_at IS NOT NULL AND a.state <> 'completed'))
LIMIT $1

-- name: first_tasks
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at
FROM tasks t JOIN jobs j ON j.number = t.job
WHERE t.job = ANY ($1::bigint[]) AND t.position = 1 ORDER BY t.job

-- name: awaited_of
SELECT j.id, d.after, a.state, d.any_end
FROM dependencies d JOIN jobs j ON j.number = d.job LEFT JOIN tasks a ON a.job = d.after AND a.position = 1
WHERE d.job = ANY ($1::bigint[]) ORDER BY d.job, d.after

-- name: forget_waits
DELETE FROM dependencies WHERE job IN (SELECT number FROM jobs WHERE id = ANY ($1::text[]))
