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
