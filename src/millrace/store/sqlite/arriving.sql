-- Tasks that wait for bytes of an upload. Every task is read with the columns of rows.task, in that order.

-- name: expect_upload
INSERT INTO arriving (upload, size, arrived) VALUES (?1, ?2, 0) ON CONFLICT (upload) DO NOTHING

-- name: await_input
-- Task ?2 of job ?1, in its attempt ?3, waits for ?5 bytes of upload ?4.
INSERT INTO input_waits (job, position, attempt, upload, bytes, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (job, position) DO UPDATE SET
  attempt = excluded.attempt, upload = excluded.upload, bytes = excluded.bytes, reason = excluded.reason

-- name: set_own_class
-- The class that the lead of job ?1 gets back when all of its input is there.
UPDATE tasks SET own_class = ?2 WHERE job = ?1 AND position = 1

-- name: note_arrival
UPDATE arriving SET arrived = max(arrived, ?2) WHERE upload = ?1 RETURNING upload

-- name: arriving
-- With whether any task waits for it, or for a worker that could begin before it is all there.
SELECT a.upload, a.size, a.arrived, EXISTS (
  SELECT 1 FROM input_waits w JOIN tasks t ON t.job = w.job AND t.position = w.position
  WHERE w.upload = a.upload AND t.attempt = w.attempt AND (t.state = 'pending' OR t.state = 'queued'))
FROM arriving a ORDER BY a.upload

-- name: arrived_tasks
-- With ?3 also those that have been queued for who can begin before all of it is there.
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM input_waits w JOIN tasks t ON t.job = w.job AND t.position = w.position JOIN jobs j ON j.number = w.job
WHERE w.upload = ?1 AND w.bytes <= ?2 AND t.attempt = w.attempt AND (t.state = 'pending' OR
  (?3 AND t.state = 'queued' AND t.own_class IS NOT NULL AND t.split IS NULL))
ORDER BY w.bytes, w.job, w.position LIMIT ?4

-- name: input_awaited
-- What the lead of a job waits for, if it does, and how much has arrived of the upload that the job names.
SELECT a.upload, a.size, a.arrived, coalesce((
  SELECT w.reason FROM input_waits w JOIN tasks t ON t.job = w.job AND t.position = w.position
  WHERE w.job = ?1 AND w.position = 1 AND t.attempt = w.attempt AND t.state = 'pending'), '')
FROM arriving a WHERE a.upload = ?2

-- name: forget_input_waits
-- Of an upload, unless the task waits, or may do so in the next moment.
DELETE FROM input_waits WHERE upload = ?1 AND NOT EXISTS (
  SELECT 1 FROM tasks t WHERE t.job = input_waits.job AND t.position = input_waits.position AND t.attempt = input_waits.attempt
    AND (t.state = 'pending' OR t.state = 'paused' OR t.state = 'assigned' OR t.state = 'processing'))

-- name: forget_arriving
DELETE FROM arriving WHERE upload = ?1 AND NOT EXISTS (SELECT 1 FROM input_waits WHERE upload = ?1)
