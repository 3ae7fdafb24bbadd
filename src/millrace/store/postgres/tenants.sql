-- Tenants, and what uploads take. Every tenant is read with the columns of rows.tenant, in that order.

-- name: tenant
SELECT name, by_default, max_concurrent, max_queued, max_per_day, max_storage, inputs, outputs, changed_at,
  CASE WHEN max_concurrent IS NOT NULL THEN running
    ELSE (SELECT count(*) FROM tasks t JOIN jobs j ON j.number = t.job
      WHERE t.node_id IS NOT NULL AND j.tenant = tenants.name) END,
  queued, CASE WHEN day = now_ms() / 86400000 THEN accepted ELSE 0 END, stored,
  weight
FROM tenants WHERE name = $1

-- name: tenant_names
SELECT name FROM tenants ORDER BY name

-- name: set_tenant
INSERT INTO tenants (name, by_default, max_concurrent, max_queued, max_per_day, max_storage, inputs, outputs, changed_at,
  running, queued, day, accepted, stored, weight)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now_ms(), 0, 0, 0, 0, 0, $9)
ON CONFLICT (name) DO UPDATE SET
  by_default = excluded.by_default, max_concurrent = excluded.max_concurrent, max_queued = excluded.max_queued,
  max_per_day = excluded.max_per_day, max_storage = excluded.max_storage, inputs = excluded.inputs,
  outputs = excluded.outputs, changed_at = excluded.changed_at, weight = excluded.weight
WHERE excluded.by_default <= tenants.by_default

-- name: count_anew
-- All that is counted.
UPDATE tenants n SET running = c.running, queued = c.queued, accepted = c.accepted, day = c.day,
  stored = c.stored + (SELECT coalesce(sum(size), 0) FROM uploads WHERE tenant = $1)
FROM (
  SELECT count(t.node_id) AS running, count(j.number) FILTER (WHERE t.finished_at IS NULL AND t.position = 1) AS queued,
    count(*) FILTER (WHERE j.created_at >= d.day * 86400000 AND t.position = 1) AS accepted, coalesce(sum(t.stored), 0) AS stored, d.day
  FROM (SELECT now_ms() / 86400000 AS day) d LEFT JOIN (jobs j JOIN tasks t ON t.job = j.number) ON j.tenant = $1
  GROUP BY d.day) c
WHERE n.name = $1

-- name: set_lane
-- Of all that has not ended; what has gets its lane when it is retried.
UPDATE tasks t SET lane = $2 FROM jobs j WHERE j.tenant = $1 AND t.job = j.number AND t.finished_at IS NULL

-- name: remove_tenant
DELETE FROM tenants WHERE name = $1 RETURNING name

-- name: add_upload
INSERT INTO uploads (id, tenant, size) VALUES ($1, $2, $3)

-- name: release_upload
DELETE FROM uploads WHERE id = $1 RETURNING tenant, size

-- name: release_uploads
DELETE FROM uploads WHERE id < $1 RETURNING tenant, size

-- name: count_stored
UPDATE tenants SET stored = stored + $2 WHERE name = $1

-- name: forget_turns
-- Of lines that nobody waits in since long.
DELETE FROM turns WHERE rank < $1
