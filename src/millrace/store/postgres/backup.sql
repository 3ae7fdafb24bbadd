-- Copies of the whole database.

-- name: count_all_jobs
SELECT count(*) FROM jobs

-- name: fence_nodes
UPDATE nodes SET epoch = epoch + 1000000

-- The ids of transactions are those of the server that made them: another would keep the events of its future back.
-- name: part_events
-- Webhooks hear what they have not heard, and perhaps some of what was written at the same time once more.
WITH relay AS (
  UPDATE webhook_relay r SET xid = '1', seq = coalesce(
    (SELECT min(x.seq) - 1 FROM transitions x WHERE (x.xid, x.seq) > (r.xid, r.seq)), (SELECT max(seq) FROM transitions), 0))
UPDATE transitions SET xid = '1'
