-- Work: claims and moves. Every task is read with the columns of rows.task, in that order.

-- name: tasks
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM jobs j JOIN tasks t ON t.job = j.number WHERE j.id = ?1 ORDER BY t.position

-- name: task
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM jobs j JOIN tasks t ON t.job = j.number WHERE j.id = ?1 AND t.position = ?2

-- name: held_classes
-- Of what node ?1 holds in epoch ?2, without the task ?4 of job ?3.
SELECT class_id FROM tasks WHERE node_id = ?1 AND node_epoch = ?2 AND NOT (job = ?3 AND position = ?4)

-- name: due
-- A job that waits for others is none, whatever its time.
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM tasks t JOIN jobs j ON j.number = t.job
WHERE t.state IN ('pending', 'retrying') AND t.due_at IS NOT NULL AND t.due_at <= ?1
  AND NOT EXISTS (SELECT 1 FROM dependencies d WHERE d.job = t.job)
ORDER BY t.due_at, t.job, t.position LIMIT ?2

-- name: next_due
SELECT min(due_at) FROM tasks WHERE state IN ('pending', 'retrying') AND due_at IS NOT NULL

-- name: orphans
-- The node is missing where it was removed: then nobody will ever speak for the task.
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM tasks t INDEXED BY tasks_held JOIN jobs j ON j.number = t.job LEFT JOIN nodes n ON n.id = t.node_id
WHERE t.node_id IS NOT NULL AND (n.id IS NULL OR n.epoch <> t.node_epoch)
ORDER BY t.claimed_at, t.job, t.position LIMIT ?1

-- name: left_by
-- Of one node, before this epoch: one index entry for each task that it holds, however many others hold some.
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM tasks t JOIN jobs j ON j.number = t.job
WHERE t.node_id = ?1 AND t.node_epoch < ?2
ORDER BY t.claimed_at, t.job, t.position LIMIT ?3

-- name: retry_sooner
-- What waits for its next attempt waits for a time, and not until one that somebody named.
UPDATE tasks SET due_at = due_at - ?1 WHERE state = 'retrying' AND due_at IS NOT NULL

-- name: queued_classes
-- One step into the index for each class, however many tasks wait.
SELECT c.id, (SELECT min(t.queued_at) FROM tasks t WHERE t.state = 'queued' AND t.class_id = c.id)
FROM requirement_classes c

-- name: queued
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM tasks t JOIN jobs j ON j.number = t.job
WHERE t.state = 'queued' AND t.class_id = ?1 ORDER BY t.lane, t.rank, t.job, t.position LIMIT ?2
