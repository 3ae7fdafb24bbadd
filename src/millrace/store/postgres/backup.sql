-- Copies of the whole database.

-- name: schema_version
SELECT max(version) FROM schema_migrations

-- name: count_all_jobs
SELECT count(*) FROM jobs

-- name: fence_nodes
UPDATE nodes SET epoch = epoch + 1000000

-- The ids of transactions are those of the server that made them: another would keep the events of its future back.
-- name: part_events
UPDATE transitions SET xid = '1'
