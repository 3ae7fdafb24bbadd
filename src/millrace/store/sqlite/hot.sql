-- The four hot verbs (add_jobs, claim, move, heartbeat), and registrations, in small steps: they run one after another in the
-- writer's transaction, where a step costs microseconds. Sorters and RETURNING cost more than another look-up, and for an IN
-- with words SQLite builds a table each time, so there are none here. PostgreSQL's file of this name has one statement for a
-- whole batch instead, because there each step is a round trip; the names in these two files differ by design.

-- name: known_key
SELECT k.body_digest, j.id, j.number, j.state, j.created_at
FROM idempotency_keys k JOIN jobs j ON j.number = k.job
WHERE k.tenant = ?1 AND k.key = ?2

-- name: add_key
INSERT INTO idempotency_keys (tenant, key, body_digest, job) VALUES (?1, ?2, ?3, ?4)

-- name: add_job
INSERT INTO jobs (id, tenant, queue, priority, classification, labels, profile, max_retries, timeout_s, state,
  created_at, due_at, queued_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, CASE WHEN ?10 = 'queued' THEN ?11 END)

-- name: add_spec
INSERT INTO job_specs (job, spec) VALUES (?1, ?2)

-- name: add_task
INSERT INTO tasks (job, position, class_id, rank, max_retries, state, queued_at, due_at, lane, line)
VALUES (?1, 1, ?2, ?3, ?4, ?5, CASE WHEN ?5 = 'queued' THEN ?6 END, ?7, ?8, ?9)

-- name: newest_turn
-- Of the line ?2 of a class: who opened the newest turn.
SELECT t.rank, j.tenant FROM tasks t INDEXED BY tasks_turns CROSS JOIN jobs j
WHERE t.state = 'queued' AND t.class_id = ?1 AND t.line = ?2 AND j.number = t.job ORDER BY t.rank DESC LIMIT 1

-- name: following_turn
-- The first turn after the last of tenant ?3.
SELECT min(rank) FROM tasks INDEXED BY tasks_turns
WHERE state = 'queued' AND class_id = ?1 AND line = ?2
  AND rank > coalesce((SELECT rank FROM turns WHERE class_id = ?1 AND line = ?2 AND tenant = ?3), -9223372036854775808)

-- name: last_turn
-- The last turn of tenant ?3, with how many places of it the tenant has, and whether it still waits.
SELECT rank, taken, EXISTS (
  SELECT 1 FROM tasks t INDEXED BY tasks_turns WHERE t.state = 'queued' AND t.class_id = ?1 AND t.line = ?2 AND t.rank = turns.rank)
FROM turns WHERE class_id = ?1 AND line = ?2 AND tenant = ?3

-- name: weights
SELECT name, weight FROM tenants INDEXED BY tenants_weighted WHERE weight > 1

-- name: keep_turn
INSERT INTO turns (class_id, line, tenant, rank, taken) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (class_id, line, tenant) DO UPDATE SET rank = max(rank, excluded.rank),
  taken = CASE WHEN rank < excluded.rank THEN excluded.taken WHEN rank = excluded.rank THEN max(taken, excluded.taken) ELSE taken END

-- name: counts
-- The limits of a tenant and what is counted by them, on day ?2.
SELECT max_concurrent, max_queued, max_per_day, max_storage, running, queued, CASE WHEN day = ?2 THEN accepted ELSE 0 END, stored
FROM tenants WHERE name = ?1

-- name: lanes
-- Tenants that may run more, and by how much.
SELECT name, max_concurrent - running FROM tenants INDEXED BY tenants_bounded
WHERE max_concurrent IS NOT NULL AND running < max_concurrent

-- name: count_accepted
UPDATE tenants SET queued = queued + 1, accepted = CASE WHEN day = ?2 THEN accepted + 1 ELSE 1 END, day = ?2 WHERE name = ?1

-- name: count_moved
UPDATE tenants SET running = running + ?2, queued = queued + ?3, stored = stored + ?4 WHERE name = ?1

-- name: add_transition
INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)

-- name: claim_next
-- The head of one class in one lane. The index holds only queued tasks, in this order.
SELECT rank, job, position, attempt, avoid FROM tasks INDEXED BY tasks_lanes
WHERE state = 'queued' AND class_id = ?1 AND lane = ?2 ORDER BY rank, job, position LIMIT ?3

-- name: claim_next_for
-- The same for one node: the first that does not avoid it, or was queued before ?4. What was never begun and avoids a node is a
-- hedge, which is never for the node that makes its part.
SELECT rank, job, position, attempt FROM tasks INDEXED BY tasks_lanes
WHERE state = 'queued' AND class_id = ?1 AND lane = ?2 AND (avoid IS NULL OR (queued_at <= ?4 AND attempt > 0) OR instr(avoid, ?3) = 0)
ORDER BY rank, job, position LIMIT 1

-- name: claim_node
-- The node, with each task that it was given for this request already.
SELECT n.name, n.state, t.rank, t.job, t.position, t.attempt
FROM nodes n LEFT JOIN tasks t ON t.node_id = n.id AND t.claim_request = ?3
WHERE n.id = ?1 AND n.epoch = ?2 AND n.state <> 'lost'

-- name: free_slots
-- How many more tasks the node may have, beside those that it holds in its present epoch.
SELECT n.slots - (SELECT count(*) FROM tasks h WHERE h.node_id = n.id AND h.node_epoch = n.epoch) FROM nodes n WHERE n.id = ?1

-- name: claim_task
UPDATE tasks SET state = 'assigned', attempt = ?3 + 1, node_id = ?4, node_epoch = ?5, claim_request = ?6,
  started = 0, claimed_at = ?7
WHERE job = ?1 AND position = ?2 AND state = 'queued' AND attempt = ?3

-- name: claim_attempt
INSERT INTO attempts (job, position, attempt, node_id, node_name, claim_request, claimed_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)

-- name: claim_job
-- The lead of a job stands for it (`job_state` in domain/states.py).
UPDATE jobs SET started_at = coalesce(started_at, ?2),
  state = CASE WHEN (SELECT split FROM tasks WHERE job = ?1 AND position = 1) IS NULL THEN 'assigned' ELSE 'processing' END
WHERE number = ?1

-- name: claimed
SELECT j.id, j.number, j.profile, s.spec, j.timeout_s, p.kind, p.number, l.plan
FROM jobs j CROSS JOIN job_specs s CROSS JOIN tasks t
LEFT JOIN parts p ON t.split IS NOT NULL AND p.job = ?1 AND p.position = ?2
LEFT JOIN parts l ON t.split IS NOT NULL AND l.job = ?1 AND l.position = 1
WHERE j.number = ?1 AND s.job = ?1 AND t.job = ?1 AND t.position = ?2

-- name: move_find
SELECT j.number, t.state, t.attempt, t.node_id, t.class_id, t.node_epoch, j.tenant, t.lane, t.stored, t.split, t.own_class
FROM jobs j CROSS JOIN tasks t WHERE j.id = ?1 AND t.job = j.number AND t.position = ?2

-- name: move_task
-- ?3 target, ?4 now, ?5 when due, ?6 whether the node lets go, ?7 spends, ?8 loses, ?9 restart, ?10 whether it waits, ?11 what
-- it avoids, ?12 the lane and ?13 the bytes of kept outputs where they change
UPDATE tasks SET
  state = ?3,
  node_id = CASE WHEN ?6 THEN NULL ELSE node_id END,
  node_epoch = CASE WHEN ?6 THEN NULL ELSE node_epoch END,
  claim_request = CASE WHEN ?6 THEN NULL ELSE claim_request END,
  claimed_at = CASE WHEN ?6 THEN NULL ELSE claimed_at END,
  started = CASE WHEN ?3 = 'processing' THEN 1 WHEN ?6 THEN 0 ELSE started END,
  queued_at = CASE WHEN ?3 = 'queued' THEN ?4 ELSE queued_at END,
  due_at = CASE WHEN ?10 THEN coalesce(?5, due_at) END,
  spent = CASE WHEN ?9 THEN 0 ELSE spent + ?7 END,
  losses = CASE WHEN ?9 THEN 0 ELSE losses + ?8 END,
  avoid = CASE WHEN ?9 THEN NULL ELSE coalesce(?11, avoid) END,
  lane = coalesce(?12, lane),
  stored = coalesce(?13, stored),
  split = CASE WHEN ?9 THEN NULL ELSE split END,
  class_id = CASE WHEN ?9 THEN coalesce(own_class, class_id) ELSE class_id END,
  own_class = CASE WHEN ?9 THEN NULL ELSE own_class END
WHERE job = ?1 AND position = ?2

-- name: move_job
-- ?2 the job's state, ?3 now, ?4 when due, ?5 and ?6 the failure, ?7 whether they replace the old one, ?8 whether it is final, ?9 whether the
-- lead is queued
UPDATE jobs SET
  state = ?2,
  failure_class = CASE WHEN ?7 THEN ?5 ELSE failure_class END,
  failure_message = CASE WHEN ?7 THEN ?6 ELSE failure_message END,
  due_at = coalesce(?4, due_at),
  queued_at = CASE WHEN ?9 THEN ?3 ELSE queued_at END,
  finished_at = CASE WHEN ?8 THEN ?3 END
WHERE number = ?1

-- name: show_split
-- The lead waits for its parts (`job_state` in domain/states.py).
UPDATE jobs SET state = 'processing' WHERE number = ?1 AND state = 'pending'

-- name: stored_by_old
-- What is kept of the outputs of those that `delete_finished` deletes.
SELECT j.tenant, sum(t.stored) FROM (
  SELECT number, tenant FROM jobs WHERE finished_at < ?1 AND NOT EXISTS (SELECT 1 FROM dependencies WHERE after = number)
  ORDER BY finished_at, number LIMIT ?2) j
JOIN tasks t ON t.job = j.number GROUP BY j.tenant HAVING sum(t.stored) > 0

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

-- name: add_node
-- No row where another worker with this identity registered after this one (its boot id is an old one), and lives: it was heard
-- of since. Of what a dead worker sent, and comes late, nobody hears again.
INSERT INTO nodes (id, fingerprint, boot_id, name, state, epoch, slots, registered_at, seen_at, lease_until)
VALUES (?1, ?2, ?3, ?4, 'ready', 1, ?5, ?6, ?6, ?7)
ON CONFLICT (fingerprint) DO UPDATE SET
  boot_id = excluded.boot_id,
  name = excluded.name,
  slots = excluded.slots,
  seen_at = excluded.seen_at,
  lease_until = excluded.lease_until,
  epoch = nodes.epoch + (nodes.boot_id <> excluded.boot_id OR nodes.state = 'lost'),
  state = CASE
    WHEN EXISTS (SELECT 1 FROM quarantines q WHERE q.node_id = nodes.id AND q.released_at IS NULL) THEN 'quarantined'
    WHEN nodes.state = 'draining' AND nodes.boot_id = excluded.boot_id THEN 'draining' ELSE 'ready' END
WHERE nodes.boot_id = excluded.boot_id OR nodes.state = 'lost' OR nodes.lease_until < excluded.seen_at OR NOT EXISTS (
  SELECT 1 FROM node_facts f WHERE f.node_id = nodes.id AND f.booted_at < nodes.seen_at
    AND instr(' ' || f.boots || ' ', ' ' || excluded.boot_id || ' ') > 0)
RETURNING id

-- name: keep_node_facts
INSERT INTO node_facts (node_id, labels, facts, key_id, boots, booted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (node_id) DO UPDATE SET
  labels = excluded.labels, facts = excluded.facts, key_id = excluded.key_id, booted_at = excluded.booted_at,
  boots = CASE WHEN instr(' ' || node_facts.boots || ' ', ' ' || excluded.boots || ' ') > 0 THEN node_facts.boots
    ELSE substr(node_facts.boots || ' ' || excluded.boots, -2000) END

-- name: heartbeat
UPDATE nodes SET seen_at = ?3, lease_until = ?4 WHERE id = ?1 AND epoch = ?2 AND state <> 'lost' RETURNING id

-- name: keep_progress
-- Ignored unless the attempt is the node's.
INSERT INTO progress (job, position, attempt, fraction, phase, frame, fps, speed, eta_s, updated_at)
SELECT t.job, t.position, t.attempt, ?6, ?7, ?8, ?9, ?10, ?11, ?12
FROM jobs j JOIN tasks t ON t.job = j.number
WHERE j.id = ?1 AND t.position = ?2 AND t.attempt = ?3 AND t.node_id = ?4 AND t.node_epoch = ?5
ON CONFLICT (job, position) DO UPDATE SET
  attempt = excluded.attempt, fraction = excluded.fraction, phase = excluded.phase, frame = excluded.frame,
  fps = excluded.fps, speed = excluded.speed, eta_s = excluded.eta_s, updated_at = excluded.updated_at

-- name: held
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM tasks t JOIN jobs j ON j.number = t.job
WHERE t.node_id = ?1 AND t.node_epoch = ?2 ORDER BY t.job, t.position
