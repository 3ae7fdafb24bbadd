-- Work: claims and moves. Every task is read with the columns of rows.task, in that order.

-- name: claim_next
-- The head of one class. The index holds only queued tasks and all the columns, so a claim reads what it takes.
SELECT rank, job, position FROM tasks INDEXED BY tasks_queued
WHERE state = 'queued' AND class_id = ?1 ORDER BY rank, job, position LIMIT ?2

-- name: claim_node
SELECT name FROM nodes WHERE id = ?1 AND epoch = ?2 AND state = 'ready'

-- name: claim_repeated
SELECT job, position, attempt FROM tasks WHERE node_id = ?1 AND claim_request = ?2 ORDER BY rank, job, position

-- name: claim_task
UPDATE tasks SET state = 'assigned', attempt = attempt + 1, node_id = ?3, node_epoch = ?4, claim_request = ?5,
  started = 0, claimed_at = ?6
WHERE job = ?1 AND position = ?2 AND state = 'queued'
RETURNING attempt

-- name: claim_attempt
INSERT INTO attempts (job, position, attempt, node_id, node_name, claim_request, claimed_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)

-- name: claim_job
UPDATE jobs SET state = 'assigned', started_at = coalesce(started_at, ?2) WHERE number = ?1

-- name: claimed
SELECT j.id, j.number, j.profile, s.spec, j.timeout_s
FROM jobs j JOIN job_specs s ON s.job = j.number WHERE j.number = ?1

-- name: move_find
SELECT t.job, t.state, t.attempt, t.node_id, t.class_id
FROM jobs j JOIN tasks t ON t.job = j.number WHERE j.id = ?1 AND t.position = ?2

-- name: move_task
-- ?3 target, ?4 now, ?5 when due, ?6 whether the node lets go, ?7 spends, ?8 loses, ?9 restart
UPDATE tasks SET
  state = ?3,
  node_id = CASE WHEN ?6 THEN NULL ELSE node_id END,
  node_epoch = CASE WHEN ?6 THEN NULL ELSE node_epoch END,
  claim_request = CASE WHEN ?6 THEN NULL ELSE claim_request END,
  claimed_at = CASE WHEN ?6 THEN NULL ELSE claimed_at END,
  started = CASE WHEN ?3 = 'processing' THEN 1 WHEN ?6 THEN 0 ELSE started END,
  queued_at = CASE WHEN ?3 = 'queued' THEN ?4 ELSE queued_at END,
  due_at = CASE WHEN ?3 IN ('pending', 'retrying', 'paused') THEN coalesce(?5, due_at) END,
  spent = CASE WHEN ?9 THEN 0 ELSE spent + ?7 END,
  losses = CASE WHEN ?9 THEN 0 ELSE losses + ?8 END
WHERE job = ?1 AND position = ?2

-- name: move_job
-- ?2 target, ?3 now, ?4 when due, ?5 and ?6 the failure, ?7 restart
UPDATE jobs SET
  state = ?2,
  failure_class = CASE WHEN ?5 IS NOT NULL THEN ?5
    WHEN ?7 OR ?2 IN ('completed', 'failed', 'canceled', 'rejected') THEN NULL ELSE failure_class END,
  failure_message = CASE WHEN ?5 IS NOT NULL THEN ?6
    WHEN ?7 OR ?2 IN ('completed', 'failed', 'canceled', 'rejected') THEN NULL ELSE failure_message END,
  due_at = coalesce(?4, due_at),
  queued_at = CASE WHEN ?2 = 'queued' THEN ?3 ELSE queued_at END,
  finished_at = CASE WHEN ?2 IN ('completed', 'failed', 'canceled', 'rejected') THEN ?3 END
WHERE number = ?1

-- name: start_attempt
UPDATE attempts SET started_at = ?4
WHERE job = ?1 AND position = ?2 AND attempt = ?3 AND started_at IS NULL AND outcome IS NULL

-- name: end_attempt
UPDATE attempts SET ended_at = ?4, outcome = ?5, failure_class = ?6, failure_message = ?7
WHERE job = ?1 AND position = ?2 AND attempt = ?3 AND outcome IS NULL

-- name: delete_outputs
DELETE FROM outputs WHERE job = ?1

-- name: add_output
INSERT INTO outputs (job, name, location, sha256, size, streams) VALUES (?1, ?2, ?3, ?4, ?5, ?6)

-- name: keep_facts
INSERT INTO job_facts (job, facts) VALUES (?1, ?2) ON CONFLICT (job) DO UPDATE SET facts = excluded.facts

-- name: tasks
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at
FROM jobs j JOIN tasks t ON t.job = j.number WHERE j.id = ?1 ORDER BY t.position

-- name: task
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at
FROM jobs j JOIN tasks t ON t.job = j.number WHERE j.id = ?1 AND t.position = ?2

-- name: due
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at
FROM tasks t JOIN jobs j ON j.number = t.job
WHERE t.state IN ('pending', 'retrying') AND t.due_at IS NOT NULL AND t.due_at <= ?1
ORDER BY t.due_at, t.job, t.position LIMIT ?2

-- name: next_due
SELECT min(due_at) FROM tasks WHERE state IN ('pending', 'retrying') AND due_at IS NOT NULL

-- name: orphans
-- The node is missing where it was removed: then nobody will ever speak for the task.
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at
FROM tasks t JOIN jobs j ON j.number = t.job LEFT JOIN nodes n ON n.id = t.node_id
WHERE t.node_id IS NOT NULL AND (n.id IS NULL OR n.epoch <> t.node_epoch)
ORDER BY t.job, t.position LIMIT ?1

-- name: queued_classes
-- One step into the index for each class, however many tasks wait.
SELECT c.id, (SELECT min(t.queued_at) FROM tasks t WHERE t.state = 'queued' AND t.class_id = c.id)
FROM requirement_classes c

-- name: queued
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at
FROM tasks t JOIN jobs j ON j.number = t.job
WHERE t.state = 'queued' AND t.class_id = ?1 ORDER BY t.rank, t.job, t.position LIMIT ?2
