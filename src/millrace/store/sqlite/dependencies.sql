-- Jobs that wait for others. Every task is read with the columns of rows.task, in that order.

-- name: add_dependency
INSERT INTO dependencies (job, after, any_end) VALUES (?1, ?2, ?3)

-- name: decidable
-- By the key, so that each job's rows come one after the other and nothing is sorted.
SELECT d.job FROM dependencies d JOIN jobs w ON w.number = d.job LEFT JOIN jobs a ON a.number = d.after
WHERE w.state <> 'paused'
GROUP BY d.job
HAVING count(*) = count(a.finished_at)
  OR max(a.number IS NULL OR (NOT d.any_end AND a.finished_at IS NOT NULL AND a.state <> 'completed'))
LIMIT ?1

-- name: first_tasks
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM tasks t JOIN jobs j ON j.number = t.job
WHERE t.job IN (SELECT value FROM json_each(?1)) AND t.position = 1 ORDER BY t.job

-- name: awaited_of
SELECT j.id, d.after, a.state, d.any_end
FROM dependencies d JOIN jobs j ON j.number = d.job LEFT JOIN jobs a ON a.number = d.after
WHERE d.job IN (SELECT value FROM json_each(?1)) ORDER BY d.job, d.after

-- name: forget_waits
DELETE FROM dependencies WHERE job IN (SELECT j.number FROM json_each(?1) w JOIN jobs j ON j.id = w.value)
