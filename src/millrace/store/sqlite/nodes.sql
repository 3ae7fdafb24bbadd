-- Nodes and their leases. Every node is read with the columns of rows.node, in that order.

-- name: add_node
INSERT INTO nodes (id, fingerprint, boot_id, name, state, epoch, slots, registered_at, seen_at, lease_until)
VALUES (?1, ?2, ?3, ?4, 'ready', 1, ?5, ?6, ?6, ?7)
ON CONFLICT (fingerprint) DO UPDATE SET
  boot_id = excluded.boot_id,
  name = excluded.name,
  slots = excluded.slots,
  seen_at = excluded.seen_at,
  lease_until = excluded.lease_until,
  epoch = nodes.epoch + (nodes.boot_id <> excluded.boot_id OR nodes.state = 'lost'),
  state = CASE WHEN nodes.state = 'draining' AND nodes.boot_id = excluded.boot_id THEN 'draining' ELSE 'ready' END
RETURNING id

-- name: keep_node_facts
INSERT INTO node_facts (node_id, labels, facts) VALUES (?1, ?2, ?3)
ON CONFLICT (node_id) DO UPDATE SET labels = excluded.labels, facts = excluded.facts

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
  t.node_epoch, t.started, t.claimed_at, t.due_at
FROM tasks t JOIN jobs j ON j.number = t.job
WHERE t.node_id = ?1 AND t.node_epoch = ?2 ORDER BY t.job, t.position

-- name: nodes
SELECT n.id, n.fingerprint, n.boot_id, n.name, n.state, n.epoch, n.slots, f.labels, f.facts, n.registered_at, n.seen_at,
  n.lease_until, (SELECT count(*) FROM tasks t WHERE t.node_id = n.id)
FROM nodes n JOIN node_facts f ON f.node_id = n.id ORDER BY n.registered_at, n.id

-- name: node
SELECT n.id, n.fingerprint, n.boot_id, n.name, n.state, n.epoch, n.slots, f.labels, f.facts, n.registered_at, n.seen_at,
  n.lease_until, (SELECT count(*) FROM tasks t WHERE t.node_id = n.id)
FROM nodes n JOIN node_facts f ON f.node_id = n.id WHERE n.id = ?1

-- name: node_named
-- Names are the machines' own and may come twice; the one seen last is meant.
SELECT id FROM nodes WHERE name = ?1 ORDER BY seen_at DESC, id LIMIT 1

-- name: set_node_state
UPDATE nodes SET state = ?2 WHERE id = ?1 AND state IN (SELECT value FROM json_each(?3)) RETURNING id

-- name: remove_node
DELETE FROM nodes WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE node_id = ?1) RETURNING id

-- name: expire_leases
UPDATE nodes SET state = 'lost', epoch = epoch + 1
WHERE id IN (SELECT id FROM nodes WHERE state <> 'lost' AND lease_until < ?1 ORDER BY lease_until, id LIMIT ?2)
RETURNING id
