-- Jobs: accepting, reading, listing, cleaning. Every job is read with the columns of rows.job, in that order.

-- name: classes
SELECT id, needs FROM requirement_classes WHERE id > ?1 ORDER BY id

-- name: class_id
SELECT id FROM requirement_classes WHERE digest = ?1

-- name: add_class
INSERT INTO requirement_classes (digest, needs) VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING

-- name: job_by_number
SELECT j.id, j.number, j.tenant, j.queue, j.priority, j.classification, j.labels, j.profile, s.spec, j.max_retries,
  j.timeout_s, j.state, j.failure_class, j.failure_message, j.created_at, j.due_at, j.queued_at, j.started_at,
  j.finished_at, p.fraction, p.phase, p.frame, p.fps, p.speed, p.eta_s, p.updated_at,
  t.attempt, t.split
FROM jobs j
JOIN job_specs s ON s.job = j.number
LEFT JOIN tasks t ON t.job = j.number AND t.position = 1
LEFT JOIN progress p ON p.job = t.job AND p.position = t.position AND p.attempt = t.attempt
WHERE j.number = ?1

-- name: jobs_by_numbers
SELECT j.id, j.number, j.tenant, j.queue, j.priority, j.classification, j.labels, j.profile, s.spec, j.max_retries,
  j.timeout_s, j.state, j.failure_class, j.failure_message, j.created_at, j.due_at, j.queued_at, j.started_at,
  j.finished_at, p.fraction, p.phase, p.frame, p.fps, p.speed, p.eta_s, p.updated_at,
  t.attempt, t.split
FROM jobs j
JOIN job_specs s ON s.job = j.number
LEFT JOIN tasks t ON t.job = j.number AND t.position = 1
LEFT JOIN progress p ON p.job = t.job AND p.position = t.position AND p.attempt = t.attempt
WHERE j.number IN (SELECT value FROM json_each(?1)) ORDER BY j.number DESC

-- name: number_of_job
SELECT number FROM jobs WHERE id = ?1

-- name: jobs_page
SELECT number FROM jobs WHERE number < ?1 {conditions} ORDER BY number DESC LIMIT ?2

-- name: jobs_page_in_states
-- Top N of each state by its index, merged: many finished jobs cost nothing to who asks for the few running ones.
SELECT j.number FROM json_each(?3) wanted CROSS JOIN jobs j
WHERE j.number IN (
  SELECT number FROM jobs WHERE state = wanted.value AND number < ?1 {conditions} ORDER BY number DESC LIMIT ?2)
ORDER BY j.number DESC LIMIT ?2

-- name: only_queue
AND queue = {value}

-- name: only_priority
AND priority = {value}

-- name: only_tenant
AND tenant = {value}

-- name: only_profile
AND profile = {value}

-- name: only_failures
AND failure_class IN (SELECT value FROM json_each({value}))

-- name: only_labels
AND NOT EXISTS (
  SELECT 1 FROM json_each({value}) want
  WHERE NOT EXISTS (SELECT 1 FROM json_each(labels) have WHERE have.key = want.key AND have.value = want.value))

-- name: only_alone
AND NOT EXISTS (SELECT 1 FROM batch_jobs m WHERE m.job = number)
AND NOT EXISTS (SELECT 1 FROM transitions h WHERE h.job = number AND h.source IS NULL AND h.actor LIKE 'schedule:%')

-- name: count_jobs
SELECT state, count(*) FROM jobs GROUP BY state

-- name: attempts
SELECT j.id || '.' || a.position, a.attempt, a.node_id, a.node_name, a.claimed_at, a.started_at, a.ended_at, a.outcome,
  a.failure_class, a.failure_message
FROM attempts a JOIN jobs j ON j.number = a.job
WHERE a.job = ?1 ORDER BY a.claimed_at, a.position, a.attempt

-- name: outputs
SELECT name, location, sha256, size, streams FROM outputs WHERE job = ?1 ORDER BY name

-- name: facts
SELECT facts FROM job_facts WHERE job = ?1

-- name: transitions
SELECT x.seq, j.id, j.number, x.position, x.source, x.target, x.at, x.reason, x.attempt, x.actor
FROM transitions x JOIN jobs j ON j.number = x.job
WHERE x.job = ?1 ORDER BY x.seq

-- name: events
SELECT x.seq, j.id, j.number, x.position, x.source, x.target, x.at, x.reason, x.attempt, x.actor
FROM transitions x JOIN jobs j ON j.number = x.job
WHERE x.seq > ?1 ORDER BY x.seq LIMIT ?2

-- name: events_of_job
SELECT x.seq, j.id, j.number, x.position, x.source, x.target, x.at, x.reason, x.attempt, x.actor
FROM transitions x JOIN jobs j ON j.number = x.job
WHERE x.seq > ?1 AND x.job = ?3 ORDER BY x.seq LIMIT ?2

-- name: events_of_tenant
SELECT x.seq, j.id, j.number, x.position, x.source, x.target, x.at, x.reason, x.attempt, x.actor
FROM transitions x JOIN jobs j ON j.number = x.job
WHERE x.seq > ?1 AND j.tenant = ?3 ORDER BY x.seq LIMIT ?2

-- name: last_cursor
SELECT max(seq) FROM transitions

-- name: delete_finished
-- Whatever belongs to a job goes with it by ON DELETE CASCADE. What others wait for stays until that is decided.
DELETE FROM jobs WHERE number IN (
  SELECT number FROM jobs WHERE finished_at < ?1 AND NOT EXISTS (SELECT 1 FROM dependencies WHERE after = number)
  ORDER BY finished_at, number LIMIT ?2)
RETURNING id
