-- What a worker may read, and what it has sent.

-- name: holds_input
-- Whether node $1, or where that is NULL a node of key $2, runs a task with this input under a lease that lasts.
SELECT EXISTS (
  SELECT FROM tasks t
  JOIN nodes n ON n.id = t.node_id AND n.epoch = t.node_epoch
  JOIN node_facts f ON f.node_id = n.id
  JOIN job_specs s ON s.job = t.job
  WHERE t.node_id IS NOT NULL AND (t.node_id = $1 OR ($1 IS NULL AND coalesce(f.key_id, $2) = $2))
    AND n.state <> 'lost' AND n.lease_until >= now_ms() AND s.spec::jsonb ->> 'input' = $3)

-- name: key_of_node
SELECT key_id FROM node_facts WHERE node_id = $1

-- name: keep_arrival
INSERT INTO arrivals (job, position, attempt, name, sha256, size)
SELECT number, $2, $3, $4, $5, $6 FROM jobs WHERE id = $1
ON CONFLICT (job, position, attempt, name) DO UPDATE SET sha256 = excluded.sha256, size = excluded.size

-- name: arrivals
SELECT a.name, a.sha256, a.size FROM jobs j JOIN arrivals a ON a.job = j.number
WHERE j.id = $1 AND a.position = $2 AND a.attempt = $3

-- name: forget_arrivals
DELETE FROM arrivals WHERE job = (SELECT number FROM jobs WHERE id = $1)
