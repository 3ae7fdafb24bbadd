-- The four hot verbs (add_jobs, claim, move, heartbeat): one statement for a whole batch, its requests as arrays. SQLite's
-- file of this name has small steps instead; the names in these two files differ by design.

-- name: now
SELECT now_ms()

-- name: new_numbers
SELECT nextval(pg_get_serial_sequence('jobs', 'number')) FROM generate_series(1, $1::int)

-- name: add_keys
-- Waits for a rival that has just added the same key. Sorted, so that two batches cannot wait for each other.
INSERT INTO idempotency_keys (tenant, key, body_digest, job)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS u (tenant, key, body_digest, job)
ORDER BY tenant, key, job
ON CONFLICT (tenant, key) DO NOTHING
RETURNING job

-- name: known_keys
SELECT k.tenant, k.key, k.body_digest, j.id, j.number, j.state, j.created_at
FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS u (tenant, key)) w
JOIN idempotency_keys k ON k.tenant = w.tenant AND k.key = w.key
JOIN jobs j ON j.number = k.job

-- name: add_jobs
-- $17 is now, $18 the reason of the first transition.
WITH fresh AS MATERIALIZED (
  SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::int[], $10::float8[], $11::text[], $12::bigint[], $13::text[], $14::int[], $15::bigint[], $16::text[])
  AS u (number, id, tenant, queue, priority, classification, labels, profile, max_retries, timeout_s, state, due_at, spec,
    class_id, rank, actor)),
new_jobs AS (
  INSERT INTO jobs (number, id, tenant, queue, priority, classification, labels, profile, max_retries, timeout_s, state,
    created_at, due_at, queued_at)
  SELECT number, id, tenant, queue, priority, classification, labels::jsonb, profile, max_retries, timeout_s, state, $17,
    due_at, CASE WHEN state = 'queued' THEN $17::bigint END
  FROM fresh),
new_specs AS (INSERT INTO job_specs (job, spec) SELECT number, spec FROM fresh),
new_tasks AS (
  INSERT INTO tasks (job, position, class_id, rank, max_retries, state, queued_at, due_at)
  SELECT number, 1, class_id, rank, max_retries, state, CASE WHEN state = 'queued' THEN $17::bigint END, due_at FROM fresh)
INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
SELECT number, 1, NULL, state, $17, $18, 0, actor FROM fresh ORDER BY number
RETURNING job, xid::text || '-' || seq

-- name: lock_nodes
-- One request id must be served once, though its repetition may reach another master meanwhile. Advisory locks, because
-- they draw no transaction number: it is drawn by the claim itself, after all that the claim can see has committed, and
-- so the events of a job stand in their order.
SELECT count(pg_advisory_xact_lock(key)) FROM (
  SELECT DISTINCT hashtextextended(id, 0) AS key FROM unnest($1::text[]) AS u (id) ORDER BY key) keys

-- name: claim_standing
-- The nodes of this epoch that take work, and what they hold already by the same request.
SELECT w.ord, n.name, t.job, t.position, t.attempt
FROM unnest($1::int[], $2::text[], $3::bigint[], $4::text[]) AS w (ord, node_id, epoch, request)
JOIN nodes n ON n.id = w.node_id AND n.epoch = w.epoch AND n.state = 'ready'
LEFT JOIN tasks t ON t.node_id = w.node_id AND t.claim_request = w.request
ORDER BY w.ord, t.rank, t.job, t.position

-- name: claimed
SELECT j.number, j.id, j.number, j.profile, s.spec, j.timeout_s
FROM unnest($1::bigint[]) AS w (job) JOIN jobs j ON j.number = w.job JOIN job_specs s ON s.job = j.number

-- name: claim
-- $1 classes, $2 how many in all; for each place in order $3 the request, $4 the node, $5 its epoch, $6 its name, $7 the
-- request id; $8 now. The head of each class by its index, merged: what these nodes cannot run is never scanned.
WITH heads AS MATERIALIZED (
  SELECT t.job, t.position, row_number() OVER (ORDER BY t.rank, t.job, t.position) AS place
  FROM unnest($1::int[]) AS c (class_id)
  CROSS JOIN LATERAL (
    SELECT q.job, q.position, q.rank FROM tasks q
    WHERE q.state = 'queued' AND q.class_id = c.class_id
    ORDER BY q.rank, q.job, q.position LIMIT $2
    FOR UPDATE SKIP LOCKED) t
  ORDER BY t.rank, t.job, t.position LIMIT $2),
given AS (
  UPDATE tasks t SET state = 'assigned', attempt = t.attempt + 1, node_id = ($4::text[])[h.place],
    node_epoch = ($5::bigint[])[h.place], claim_request = ($7::text[])[h.place], started = false, claimed_at = $8
  FROM heads h WHERE t.job = h.job AND t.position = h.position AND t.state = 'queued'
  RETURNING h.place, t.job, t.position, t.attempt),
tried AS (
  INSERT INTO attempts (job, position, attempt, node_id, node_name, claim_request, claimed_at)
  SELECT job, position, attempt, ($4::text[])[place], ($6::text[])[place], ($7::text[])[place], $8 FROM given),
noted AS (
  INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
  SELECT job, position, 'queued', 'assigned', $8, 'claimed', attempt, ($4::text[])[place] FROM given ORDER BY place),
shown AS (
  UPDATE jobs j SET state = 'assigned', started_at = coalesce(j.started_at, $8)
  FROM given g WHERE j.number = g.job
  RETURNING j.number, j.id, j.profile, j.timeout_s)
SELECT ($3::int[])[g.place], g.position, g.attempt, j.id, j.number, j.profile, s.spec, j.timeout_s
FROM given g JOIN shown j ON j.number = g.job JOIN job_specs s ON s.job = g.job
ORDER BY g.place

-- name: move
-- Arrays with one place for each move; $17 now. {wait} is SKIP LOCKED for a batch, and nothing for a move that is alone: then
-- it waits for its rival before it draws a transaction number, and so the events of a job stand in their order.
WITH found AS MATERIALIZED (
  SELECT w.*, t.job, t.state AS source, t.attempt AS current, t.class_id,
    w.release OR w.target NOT IN ('assigned', 'processing', 'paused') AS let_go
  FROM unnest($1::int[], $2::text[], $3::int[], $4::text[], $5::text[], $6::int[], $7::text[], $8::bool[], $9::bigint[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::int[], $16::int[], $18::bool[])
  AS w (ord, job_id, position, sources, target, attempt, node_id, release, due_at, outcome, failure_class,
    failure_message, reason, actor, spends, loses, restart)
  JOIN jobs j ON j.id = w.job_id
  JOIN tasks t ON t.job = j.number AND t.position = w.position
  WHERE t.state = ANY (string_to_array(w.sources, ','))
    AND (w.attempt IS NULL OR w.attempt = t.attempt)
    AND (w.node_id IS NULL OR w.node_id = t.node_id)
    AND (w.target NOT IN ('assigned', 'processing') OR (t.node_id IS NOT NULL AND NOT w.release))
  ORDER BY t.job, t.position
  FOR UPDATE OF t {wait}),
moved AS (
  UPDATE tasks t SET
    state = f.target,
    node_id = CASE WHEN f.let_go THEN NULL ELSE t.node_id END,
    node_epoch = CASE WHEN f.let_go THEN NULL ELSE t.node_epoch END,
    claim_request = CASE WHEN f.let_go THEN NULL ELSE t.claim_request END,
    claimed_at = CASE WHEN f.let_go THEN NULL ELSE t.claimed_at END,
    started = CASE WHEN f.target = 'processing' THEN true WHEN f.let_go THEN false ELSE t.started END,
    queued_at = CASE WHEN f.target = 'queued' THEN $17 ELSE t.queued_at END,
    due_at = CASE WHEN f.target IN ('pending', 'retrying', 'paused') THEN coalesce(f.due_at, t.due_at) END,
    spent = CASE WHEN f.restart THEN 0 ELSE t.spent + f.spends END,
    losses = CASE WHEN f.restart THEN 0 ELSE t.losses + f.loses END
  FROM found f WHERE t.job = f.job AND t.position = f.position),
shown AS (
  UPDATE jobs j SET
    state = f.target,
    failure_class = CASE WHEN f.failure_class IS NOT NULL THEN f.failure_class
      WHEN f.restart OR f.target IN ('completed', 'failed', 'canceled', 'rejected') THEN NULL ELSE j.failure_class END,
    failure_message = CASE WHEN f.failure_class IS NOT NULL THEN f.failure_message
      WHEN f.restart OR f.target IN ('completed', 'failed', 'canceled', 'rejected') THEN NULL ELSE j.failure_message END,
    due_at = coalesce(f.due_at, j.due_at),
    queued_at = CASE WHEN f.target = 'queued' THEN $17 ELSE j.queued_at END,
    finished_at = CASE WHEN f.target IN ('completed', 'failed', 'canceled', 'rejected') THEN $17::bigint END
  FROM found f WHERE j.number = f.job),
tried AS (
  UPDATE attempts a SET
    started_at = CASE WHEN f.target = 'processing' THEN coalesce(a.started_at, $17) ELSE a.started_at END,
    ended_at = CASE WHEN f.outcome IS NOT NULL THEN $17::bigint END,
    outcome = f.outcome,
    failure_class = CASE WHEN f.outcome IS NOT NULL THEN f.failure_class END,
    failure_message = CASE WHEN f.outcome IS NOT NULL THEN f.failure_message END
  FROM found f
  WHERE a.job = f.job AND a.position = f.position AND a.attempt = f.current AND a.outcome IS NULL
    AND (f.target = 'processing' OR f.outcome IS NOT NULL)),
noted AS (
  INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
  SELECT job, position, source, target, $17, reason, current, actor FROM found ORDER BY ord)
SELECT ord, job, class_id FROM found

-- name: move_open
-- Which of the moves that found their task locked, or their guard broken, might still happen.
SELECT w.ord
FROM unnest($1::int[], $2::text[], $3::int[], $4::text[], $5::int[], $6::text[])
  AS w (ord, job_id, position, sources, attempt, node_id)
JOIN jobs j ON j.id = w.job_id
JOIN tasks t ON t.job = j.number AND t.position = w.position
WHERE t.state = ANY (string_to_array(w.sources, ','))
  AND (w.attempt IS NULL OR w.attempt = t.attempt)
  AND (w.node_id IS NULL OR w.node_id = t.node_id)

-- name: delete_outputs
DELETE FROM outputs WHERE job = ANY ($1::bigint[])

-- name: add_outputs
INSERT INTO outputs (job, name, location, sha256, size, streams)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])

-- name: keep_facts
INSERT INTO job_facts (job, facts) SELECT * FROM unnest($1::bigint[], $2::text[])
ON CONFLICT (job) DO UPDATE SET facts = excluded.facts

-- name: heartbeats
-- Locked in one order, so that two batches cannot wait for each other.
WITH alive AS MATERIALIZED (
  SELECT n.id, w.ord, w.ttl_ms
  FROM unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[]) AS w (ord, node_id, epoch, ttl_ms)
  JOIN nodes n ON n.id = w.node_id AND n.epoch = w.epoch AND n.state <> 'lost'
  ORDER BY n.id, w.ord FOR UPDATE OF n),
kept AS (UPDATE nodes n SET seen_at = $5, lease_until = $5 + a.ttl_ms FROM alive a WHERE n.id = a.id)
SELECT ord, id FROM alive

-- name: keep_progress
-- Ignored unless the attempt is the node's.
INSERT INTO progress (job, position, attempt, fraction, phase, frame, fps, speed, eta_s, updated_at)
SELECT t.job, t.position, t.attempt, w.fraction, w.phase, w.frame, w.fps, w.speed, w.eta_s, $12
FROM unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::bigint[], $6::float8[], $7::text[], $8::bigint[],
  $9::float8[], $10::float8[], $11::float8[])
  AS w (job_id, position, attempt, node_id, epoch, fraction, phase, frame, fps, speed, eta_s)
JOIN jobs j ON j.id = w.job_id
JOIN tasks t ON t.job = j.number AND t.position = w.position AND t.attempt = w.attempt AND t.node_id = w.node_id
  AND t.node_epoch = w.epoch
ORDER BY t.job, t.position
ON CONFLICT (job, position) DO UPDATE SET
  attempt = excluded.attempt, fraction = excluded.fraction, phase = excluded.phase, frame = excluded.frame,
  fps = excluded.fps, speed = excluded.speed, eta_s = excluded.eta_s, updated_at = excluded.updated_at

-- name: held
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at
FROM tasks t JOIN jobs j ON j.number = t.job
WHERE t.node_id = ANY ($1::text[]) ORDER BY t.job, t.position

-- name: nodes_by_id
SELECT n.id, n.fingerprint, n.boot_id, n.name, n.state, n.epoch, n.slots, f.labels, f.facts, n.registered_at, n.seen_at,
  n.lease_until, (SELECT count(*) FROM tasks t WHERE t.node_id = n.id)
FROM nodes n JOIN node_facts f ON f.node_id = n.id WHERE n.id = ANY ($1::text[]) ORDER BY n.lease_until, n.id

-- name: lock_migrations
SELECT pg_advisory_xact_lock(7235411200000000001)

-- name: notify
SELECT pg_notify('millrace', $1)
