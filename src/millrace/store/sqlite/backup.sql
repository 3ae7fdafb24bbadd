-- Copies of the whole database.

-- name: count_all_jobs
SELECT count(*) FROM jobs

-- name: fence_nodes
UPDATE nodes SET epoch = epoch + 1000000

-- name: part_events
UPDATE sqlite_sequence SET seq = seq + 1000000 WHERE name = 'transitions'
