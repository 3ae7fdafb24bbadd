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
WHERE n.id = ANY ($1::text[])

-- name: node_named
-- Names are the machines' own and may come twice; the one seen last is meant.
SELECT id FROM nodes WHERE name = $1 ORDER BY seen_at DESC, id LIMIT 1

-- name: set_node_state
UPDATE nodes SET state = $2 WHERE id = $1 AND state = ANY ($3::text[]) RETURNING id

-- name: remove_node
WITH gone AS (DELETE FROM nodes WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE node_id = $1) RETURNING id),
facts AS (DELETE FROM node_facts USING gone WHERE node_id = gone.id),
quarantine AS (DELETE FROM quarantines USING gone WHERE node_id = gone.id),
blames AS (DELETE FROM node_blames USING gone WHERE node_id = gone.id)
SELECT id FROM gone

-- name: expire_leases
UPDATE nodes SET state = 'lost', epoch = epoch + 1
WHERE id IN (SELECT id FROM nodes WHERE state <> 'lost' AND lease_until < now_ms() ORDER BY lease_until, id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING id

-- name: shorten_leases
-- Those that were measured by a clock that was set back since. In the order in which heartbeats lock nodes.
UPDATE nodes SET lease_until = now_ms() + $1::bigint
WHERE id IN (SELECT id FROM nodes WHERE lease_until > now_ms() + $1::bigint ORDER BY id FOR NO KEY UPDATE)

-- name: add_blame
INSERT INTO node_blames (node_id, job, at, failure_class, failure_message)
SELECT $1, number, now_ms(), $3, $4 FROM jobs WHERE id = $2 AND EXISTS (SELECT 1 FROM nodes WHERE nodes.id = $1)
ON CONFLICT (node_id, job) DO NOTHING

-- name: forget_blames
DELETE FROM node_blames WHERE at < now_ms() - $1::bigint

-- name: counting_since
-- From when on it counts: $2 ago at the earliest, the last release of the node, and the oldest of the jobs that ended last.
SELECT greatest(now_ms() - $2::bigint, (SELECT released_at FROM quarantines WHERE node_id = $1), (
  SELECT min(finished_at) FROM (
    SELECT finished_at FROM tasks WHERE finished_at > (SELECT now_ms()) - $2::bigint AND position = 1
    ORDER BY finished_at DESC LIMIT $3) AS newest))

-- name: blames
SELECT job, at, failure_class, failure_message FROM node_blames WHERE node_id = $1 AND at >= $2 ORDER BY at, job

-- name: completed_by
SELECT count(*) FROM (SELECT job FROM tasks WHERE finished_at >= $2 AND position = 1 ORDER BY finished_at DESC LIMIT $3) j
CROSS JOIN LATERAL (
  SELECT FROM attempts a WHERE a.job = j.job AND a.node_id = $1 AND a.outcome = 'completed' LIMIT 1) a

-- name: quarantined_times
SELECT times FROM quarantines WHERE node_id = $1 AND since >= now_ms() - $2::bigint

-- name: quarantine_node
-- One that stands already keeps its beginning.
INSERT INTO quarantines (node_id, reason, since, proof_due, times)
SELECT id, $2, now, now + $3::bigint, $4 FROM nodes, now_ms() AS now WHERE id = $1
ON CONFLICT (node_id) DO UPDATE SET
  reason = excluded.reason, proof_due = excluded.proof_due, times = excluded.times, released_at = NULL,
  since = CASE WHEN quarantines.released_at IS NULL THEN quarantines.since ELSE excluded.since END
RETURNING node_id

-- name: take_out_node
UPDATE nodes SET state = 'quarantined' WHERE id = $1 AND state <> 'lost'

-- name: release_node
UPDATE quarantines SET released_at = now_ms() WHERE node_id = $1 AND released_at IS NULL RETURNING node_id

-- name: take_in_node
UPDATE nodes SET state = 'ready' WHERE id = $1 AND state = 'quarantined'
