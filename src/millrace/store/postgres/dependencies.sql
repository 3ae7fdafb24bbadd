-- Jobs that wait for others. Every task is read with the columns of rows.task, in that order. Jobs and tasks are looked up one by one,
-- by their keys: without statistics a join would read all that there are, twice a second.

-- name: add_dependency
INSERT INTO dependencies (job, after, any_end) VALUES ($1, $2, $3)

-- name: decidable
SELECT d.job FROM dependencies d
CROSS JOIN LATERAL (SELECT state FROM tasks WHERE job = d.job AND position = 1 LIMIT 1) w
LEFT JOIN LATERAL (SELECT job, state, finished_at FROM tasks WHERE job = d.after AND position = 1 LIMIT 1) a ON true
WHERE w.state <> 'paused'
GROUP BY d.job
HAVING count(*) = count(a.finished_at)
  OR bool_or(a.job IS NULL OR (NOT d.any_end AND a.finished_at IS NOT NULL AND a.state <> 'completed'))
LIMIT $1

-- name: first_tasks
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM unnest($1::bigint[]) AS w (number)
CROSS JOIN LATERAL (SELECT id FROM jobs WHERE number = w.number LIMIT 1) j
CROSS JOIN LATERAL (SELECT * FROM tasks WHERE job = w.number AND position = 1 LIMIT 1) t
ORDER BY t.job

-- name: awaited_of
SELECT j.id, d.after, a.state, d.any_end
FROM unnest($1::bigint[]) AS w (number)
CROSS JOIN LATERAL (SELECT id FROM jobs WHERE number = w.number LIMIT 1) j
CROSS JOIN LATERAL (SELECT after, any_end FROM dependencies WHERE job = w.number OFFSET 0) d
LEFT JOIN LATERAL (SELECT CASE WHEN split IS NOT NULL AND state IN ('pending', 'queued', 'assigned') THEN 'processing' ELSE state END AS state FROM tasks WHERE job = d.after AND position = 1 LIMIT 1) a ON true
ORDER BY w.number, d.after

-- name: forget_waits
DELETE FROM dependencies WHERE job IN (SELECT number FROM jobs WHERE id = ANY ($1::text[]))
