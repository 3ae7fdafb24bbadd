-- Nodes and their leases. Every node is read with the columns of rows.node, in that order.

-- name: nodes
SELECT n.id, n.fingerprint, n.boot_id, n.name, n.state, n.epoch, n.slots, f.labels, f.facts, n.registered_at, n.seen_at,
  n.lease_until, (SELECT count(*) FROM tasks t WHERE t.node_id = n.id), q.reason, q.since, q.proof_due, q.times
FROM nodes n JOIN node_facts f ON f.node_id = n.id
LEFT JOIN quarantines q ON q.node_id = n.id AND q.released_at IS NULL
ORDER BY n.registered_at, n.id

-- name: node
SELECT n.id, n.fingerprint, n.boot_id, n.name, n.state, n.epoch, n.slots, f.labels, f.facts, n.registered_at, n.seen_at,
  n.lease_until, (SELECT count(*) FROM tasks t WHERE t.node_id = n.id), q.reason, q.since, q.proof_due, q.times
FROM nodes n JOIN node_facts f ON f.node_id = n.id
LEFT JOIN quarantines q ON q.node_id = n.id AND q.released_at IS NULL
WHERE n.id = ?1

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

-- name: shorten_leases
-- Those that were measured by a clock that was set back since.
UPDATE nodes SET lease_until = ?1 WHERE lease_until > ?1

-- name: add_blame
INSERT INTO node_blames (node_id, job, at, failure_class, failure_message)
SELECT ?1, number, ?3, ?4, ?5 FROM jobs WHERE id = ?2 AND EXISTS (SELECT 1 FROM nodes WHERE id = ?1)
ON CONFLICT (node_id, job) DO NOTHING

-- name: forget_blames
DELETE FROM node_blames WHERE at < ?1

-- name: counting_since
-- From when on it counts: ?2 at the earliest, the last release of the node, and the oldest of the jobs that ended last.
SELECT max(?2, coalesce((SELECT released_at FROM quarantines WHERE node_id = ?1), 0), coalesce((
  SELECT min(finished_at) FROM (
    SELECT finished_at FROM jobs WHERE finished_at > ?2 ORDER BY finished_at DESC LIMIT ?3) last), 0))

-- name: blames
SELECT job, at, failure_class, failure_message FROM node_blames WHERE node_id = ?1 AND at >= ?2 ORDER BY at, job

-- name: completed_by
SELECT count(DISTINCT j.number) FROM (SELECT number FROM jobs WHERE finished_at >= ?2 ORDER BY finished_at DESC LIMIT ?3) j
CROSS JOIN attempts a ON a.job = j.number AND a.node_id = ?1 AND a.outcome = 'completed'

-- name: quarantined_times
SELECT times FROM quarantines WHERE node_id = ?1 AND since >= ?2

-- name: quarantine_node
-- One that stands already keeps its beginning.
INSERT INTO quarantines (node_id, reason, since, proof_due, times)
SELECT id, ?2, ?3, ?3 + ?4, ?5 FROM nodes WHERE id = ?1
ON CONFLICT (node_id) DO UPDATE SET
  reason = excluded.reason, proof_due = excluded.proof_due, times = excluded.times, released_at = NULL,
  since = CASE WHEN quarantines.released_at IS NULL THEN quarantines.since ELSE excluded.since END
RETURNING node_id

-- name: take_out_node
UPDATE nodes SET state = 'quarantined' WHERE id = ?1 AND state <> 'lost'

-- name: release_node
UPDATE quarantines SET released_at = ?2 WHERE node_id = ?1 AND released_at IS NULL RETURNING node_id

-- name: take_in_node
UPDATE nodes SET state = 'ready' WHERE id = ?1 AND state = 'quarantined'
