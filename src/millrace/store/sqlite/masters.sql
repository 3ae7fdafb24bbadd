-- Masters and who of them leads.

-- name: see_master
INSERT INTO masters (id, name, version, knows, started_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at

-- name: take_term
-- Whoever leads goes on; another one begins when the term before has passed, and the epoch grows.
UPDATE leader SET until = ?3 + ?2, epoch = epoch + (master_id <> ?1), master_id = ?1
WHERE master_id = ?1 OR until < ?3

-- name: leader
SELECT epoch, master_id FROM leader WHERE until >= ?1

-- name: masters_seen
SELECT id, name, version, started_at, seen_at FROM masters WHERE seen_at > ?1 ORDER BY started_at, id

-- name: masters_behind
-- How many were seen since ?1 that do not know migration ?2.
SELECT count(*) FROM masters WHERE seen_at > ?1 AND knows < ?2

-- name: forget_masters
DELETE FROM masters WHERE seen_at <= ?1

-- name: remove_master
DELETE FROM masters WHERE id = ?1

-- name: end_term
UPDATE leader SET until = 0 WHERE master_id = ?1
