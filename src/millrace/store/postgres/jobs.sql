-- Jobs: accepting, reading, listing, cleaning. Every job is read with the columns of rows.job, in that order.

-- name: classes
SELECT id, needs FROM requirement_classes WHERE id > $1 ORDER BY id

-- name: class_id
SELECT id FROM requirement_classes WHERE digest = $1

-- name: add_class
INSERT INTO requirement_classes (digest, needs) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING

-- name: job_by_number
SELECT j.id, j.number, j.tenant, j.queue, j.priority, j.classification, j.labels, j.profile, s.spec, j.max_retries,
  j.timeout_s, CASE WHEN t.split IS NOT NULL AND t.state IN ('pending', 'queued', 'assigned') THEN 'processing' ELSE t.state END, t.failure_class, t.failure_message, j.created_at, t.job_due_at, t.queued_at, t.started_at,
  t.finished_at, p.fraction, p.phase, p.frame, p.fps, p.speed, p.eta_s, p.updated_at,
  t.attempt, t.split
FROM jobs j
JOIN job_specs s ON s.job = j.number
JOIN tasks t ON t.job = j.number AND t.position = 1
LEFT JOIN progress p ON p.job = t.job AND p.position = t.position AND p.attempt = t.attempt
WHERE j.number = $1

-- name: jobs_by_numbers
SELECT j.id, j.number, j.tenant, j.queue, j.priority, j.classification, j.labels, j.profile, s.spec, j.max_retries,
  j.timeout_s, CASE WHEN t.split IS NOT NULL AND t.state IN ('pending', 'queued', 'assigned') THEN 'processing' ELSE t.state END, t.failure_class, t.failure_message, j.created_at, t.job_due_at, t.queued_at, t.started_at,
  t.finished_at, p.fraction, p.phase, p.frame, p.fps, p.speed, p.eta_s, p.updated_at,
  t.attempt, t.split
FROM jobs j
JOIN job_specs s ON s.job = j.number
JOIN tasks t ON t.job = j.number AND t.position = 1
LEFT JOIN progress p ON p.job = t.job AND p.position = t.position AND p.attempt = t.attempt
WHERE j.number = ANY ($1::bigint[]) ORDER BY j.number DESC

-- name: number_of_job
SELECT number FROM jobs WHERE id = $1

-- name: jobs_page
SELECT number FROM jobs WHERE number < $1 {conditions} ORDER BY number DESC LIMIT $2

-- name: jobs_page_in_states
-- Top N of each state by its index, merged: many finished jobs cost nothing to who asks for the few running ones. The lead of
-- a job stands for it, and where it was split has an index of its own (`job_state` in domain/states.py).
SELECT j.number FROM jsonb_array_elements_text($3::text::jsonb) AS wanted (value) CROSS JOIN LATERAL (
  (SELECT number FROM tasks JOIN jobs ON number = job
  WHERE state = wanted.value AND job < $1 AND position = 1
    AND (split IS NULL OR state NOT IN ('pending', 'queued', 'assigned')) {conditions} ORDER BY job DESC LIMIT $2)
  UNION ALL
  (SELECT number FROM tasks JOIN jobs ON number = job
  WHERE position = 1 AND split IS NOT NULL AND state IN ('pending', 'queued', 'assigned')
    AND wanted.value = 'processing' AND job < $1 {conditions} ORDER BY job DESC LIMIT $2)) j
ORDER BY j.number DESC LIMIT $2

-- name: only_queue
AND queue = {value}

-- name: only_priority
AND priority = {value}

-- name: only_tenant
AND tenant = {value}

-- name: only_profile
AND profile = {value}

-- name: only_failures
-- Only with states: it is the tasks that have it.
AND failure_class IN (SELECT jsonb_array_elements_text({value}::text::jsonb))

-- name: only_labels
AND labels @> {value}::text::jsonb

-- name: only_alone
AND NOT EXISTS (SELECT 1 FROM batch_jobs m WHERE m.job = number)
AND NOT EXISTS (SELECT 1 FROM transitions h WHERE h.job = number AND h.source IS NULL AND h.actor LIKE 'schedule:%')

-- name: count_jobs
-- All tasks by their index, less those that are no lead; a lead that was split stands elsewhere.
SELECT state, sum(count)::bigint FROM (
  SELECT state, count(*) FROM tasks GROUP BY state
  UNION ALL
  SELECT state, -count(*) FROM tasks WHERE position > 1 GROUP BY state
  UNION ALL
  SELECT unnest(ARRAY[state, 'processing']), unnest(ARRAY[-count(*), count(*)]) FROM tasks
  WHERE position = 1 AND split IS NOT NULL AND state IN ('pending', 'queued', 'assigned') GROUP BY state) t
GROUP BY state HAVING sum(count) > 0

-- name: attempts
SELECT j.id || '.' || a.position, a.attempt, a.node_id, a.node_name, a.claimed_at, a.started_at, a.ended_at, a.outcome,
  a.failure_class, a.failure_message
FROM attempts a JOIN jobs j ON j.number = a.job
WHERE a.job = $1 ORDER BY a.claimed_at, a.position, a.attempt

-- name: outputs
SELECT name, location, sha256, size, streams FROM outputs WHERE job = $1 ORDER BY name

-- name: facts
SELECT facts FROM tasks WHERE job = $1 AND position = 1 AND facts IS NOT NULL

-- name: transitions
SELECT x.xid::text || '-' || x.seq, j.id, j.number, x.position, x.source, x.target, x.at, x.reason, x.attempt, x.actor
FROM transitions x JOIN jobs j ON j.number = x.job
WHERE x.job = $1 ORDER BY x.seq

-- name: events
-- Sequence numbers commit out of order, so the cursor is (transaction, number) and only rows older than every running
-- transaction are shown: nothing can appear before what was read.
SELECT x.xid::text || '-' || x.seq, j.id, j.number, x.position, x.source, x.target, x.at, x.reason, x.attempt, x.actor
FROM transitions x JOIN jobs j ON j.number = x.job
WHERE (x.xid, x.seq) > ($1::text::xid8, $2) AND x.xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY x.xid, x.seq LIMIT $3

-- name: events_of_job
SELECT x.xid::text || '-' || x.seq, j.id, j.number, x.position, x.source, x.target, x.at, x.reason, x.attempt, x.actor
FROM transitions x JOIN jobs j ON j.number = x.job
WHERE (x.xid, x.seq) > ($1::text::xid8, $2) AND x.xid < pg_snapshot_xmin(pg_current_snapshot()) AND x.job = $4
ORDER BY x.xid, x.seq LIMIT $3

-- name: events_of_tenant
SELECT x.xid::text || '-' || x.seq, j.id, j.number, x.position, x.source, x.target, x.at, x.reason, x.attempt, x.actor
FROM transitions x JOIN jobs j ON j.number = x.job
WHERE (x.xid, x.seq) > ($1::text::xid8, $2) AND x.xid < pg_snapshot_xmin(pg_current_snapshot()) AND j.tenant = $4
ORDER BY x.xid, x.seq LIMIT $3

-- name: last_cursor
SELECT xid::text || '-' || seq FROM transitions WHERE xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY xid DESC, seq DESC LIMIT 1

-- name: delete_finished
-- Tasks are locked first, as a move does, so that a `retry` at the same moment cannot deadlock with this. What others wait for
-- stays until that is decided.
WITH old AS MATERIALIZED (
  SELECT job, stored FROM tasks
  WHERE finished_at < $1 AND position = 1 AND job <> ALL (ARRAY(SELECT after FROM dependencies))
  ORDER BY finished_at, job LIMIT $2 FOR UPDATE SKIP LOCKED),
freed AS MATERIALIZED (
  SELECT j.tenant, sum(o.stored) AS stored FROM old o CROSS JOIN LATERAL (SELECT tenant FROM jobs WHERE number = o.job LIMIT 1) j
  WHERE o.stored > 0 GROUP BY j.tenant ORDER BY j.tenant),
counted AS (UPDATE tenants n SET stored = n.stored - f.stored FROM freed f WHERE n.name = ANY (ARRAY(SELECT tenant FROM freed)) AND n.name = f.tenant),
gone AS MATERIALIZED (SELECT array_agg(job) AS numbers FROM old),
d1 AS (DELETE FROM job_specs WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d2 AS (DELETE FROM idempotency_keys WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d3 AS (DELETE FROM tasks WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d4 AS (DELETE FROM attempts WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d5 AS (DELETE FROM progress WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d6 AS (DELETE FROM outputs WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d7 AS (DELETE FROM transitions WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d8 AS (DELETE FROM log_chunks WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d9 AS (DELETE FROM arrivals WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d10 AS (DELETE FROM parts WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d11 AS (DELETE FROM dependencies WHERE job = ANY ((SELECT numbers FROM gone)::bigint[])),
d12 AS (DELETE FROM batch_jobs WHERE job = ANY ((SELECT numbers FROM gone)::bigint[]))
DELETE FROM jobs WHERE number = ANY ((SELECT numbers FROM gone)::bigint[]) RETURNING id
