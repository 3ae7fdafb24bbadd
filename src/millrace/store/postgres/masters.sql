-- Masters and who of them leads.

-- name: see_master
INSERT INTO masters (id, name, version, knows, started_at, seen_at) SELECT $1, $2, $3, $4, now, now FROM now_ms() AS now
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at

-- name: take_term
-- Whoever leads goes on; another one begins when the term before has passed, and the epoch grows. Of two that come at once, the
-- second one waits for the row and looks at it anew.
UPDATE leader SET until = now_ms() + $2::bigint, epoch = epoch + (master_id <> $1::text)::int, master_id = $1::text
WHERE master_id = $1::text OR until < now_ms()

-- name: leader
SELECT epoch, master_id FROM leader WHERE until >= now_ms()

-- name: masters_seen
SELECT id, name, version, started_at, seen_at FROM masters WHERE seen_at > now_ms() - $1::bigint ORDER BY started_at, id

-- name: masters_behind
-- How many live that do not know migration $2.
SELECT count(*) FROM masters WHERE seen_at > now_ms() - $1::bigint AND knows < $2

-- name: forget_masters
DELETE FROM masters WHERE seen_at <= now_ms() - $1::bigint

-- name: remove_master
DELETE FROM masters WHERE id = $1

-- name: end_term
UPDATE leader SET until = 0 WHERE master_id = $1
