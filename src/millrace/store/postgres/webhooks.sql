-- Webhooks. Every webhook is read with the columns of rows.webhook, every message of a log with those of rows.delivery.

-- name: webhooks
SELECT w.id, w.tenant, w.url, w.events, w.created_at, w.actor, w.old_until, w.disabled_at, w.disabled_why,
  (SELECT count(*) FROM webhook_messages m WHERE m.webhook = w.id AND m.state = 'pending'),
  (SELECT count(*) FROM webhook_messages m WHERE m.webhook = w.id AND m.state = 'dead')
FROM webhooks w ORDER BY w.created_at, w.id

-- name: webhook
SELECT w.id, w.tenant, w.url, w.events, w.created_at, w.actor, w.old_until, w.disabled_at, w.disabled_why,
  (SELECT count(*) FROM webhook_messages m WHERE m.webhook = w.id AND m.state = 'pending'),
  (SELECT count(*) FROM webhook_messages m WHERE m.webhook = w.id AND m.state = 'dead')
FROM webhooks w WHERE w.id = $1

-- name: lock_relay
-- Two that come first at once would both believe it.
LOCK TABLE webhook_relay IN EXCLUSIVE MODE

-- name: begin_relay
-- Nobody has heard of what came before the first webhook. What is being written now comes after the oldest of those who write.
INSERT INTO webhook_relay (one, xid, seq)
SELECT 1, coalesce(x.xid, '0'::xid8), coalesce(x.seq, 0) FROM (VALUES (1)) AS v (one) LEFT JOIN LATERAL (
  SELECT xid, seq FROM transitions WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid DESC, seq DESC LIMIT 1) x ON true
ON CONFLICT (one) DO UPDATE SET xid = excluded.xid, seq = excluded.seq
WHERE NOT EXISTS (SELECT 1 FROM webhooks WHERE disabled_at IS NULL)

-- name: add_webhook
INSERT INTO webhooks (id, tenant, url, events, secret, created_at, actor) VALUES ($1, $2, $3, $4, $5, now_ms(), $6)

-- name: remove_webhook
DELETE FROM webhooks WHERE id = $1 RETURNING id

-- name: remove_messages
DELETE FROM webhook_messages WHERE webhook = $1

-- name: rotate_webhook
UPDATE webhooks SET
  old_secret = CASE WHEN $3::bigint > 0 THEN secret END, old_until = CASE WHEN $3::bigint > 0 THEN now_ms() + $3::bigint END,
  secret = $2
WHERE id = $1 RETURNING id

-- name: disable_webhook
UPDATE webhooks SET disabled_at = now_ms(), disabled_why = $2 WHERE id = $1 AND disabled_at IS NULL RETURNING id

-- name: end_messages
UPDATE webhook_messages SET state = 'dead', ended_at = now_ms(), result = $2 WHERE webhook = $1 AND state = 'pending'

-- name: overfull_webhooks
SELECT id FROM webhooks w WHERE disabled_at IS NULL
  AND (SELECT count(*) FROM (SELECT 1 FROM webhook_messages m WHERE m.webhook = w.id AND m.state = 'pending' LIMIT $1) few) >= $1

-- name: is_behind
-- Whether somebody listens, and something has happened since.
SELECT EXISTS (SELECT 1 FROM webhooks WHERE disabled_at IS NULL), EXISTS (
  SELECT 1 FROM webhook_relay r CROSS JOIN LATERAL (
    SELECT FROM transitions x
    WHERE (x.xid, x.seq) > (r.xid, r.seq) AND x.xid < pg_snapshot_xmin(pg_current_snapshot()) LIMIT 1) x)

-- name: relay_position
-- One master at a time; the others go home.
SELECT xid::text, seq FROM webhook_relay FOR UPDATE SKIP LOCKED

-- name: relay_batch
-- Where the next $3 transitions after ($1, $2) end, and how many there are. Those of transactions that all have ended.
SELECT xid::text, seq, count(*) OVER () FROM (
  SELECT x.xid, x.seq FROM transitions x
  WHERE (x.xid, x.seq) > ($1::text::xid8, $2::bigint) AND x.xid < pg_snapshot_xmin(pg_current_snapshot())
  ORDER BY x.xid, x.seq LIMIT $3) batch
ORDER BY batch.xid DESC, seq DESC LIMIT 1

-- name: relay
-- The messages of the transitions after ($1, $2) up to ($3, $4), in their order. Those of a job are its lead task's.
INSERT INTO webhook_messages (id, webhook, job, job_id, position, source, target, at, reason, attempt, state, created_at, due_at)
SELECT 'm' || replace(gen_random_uuid()::text, '-', ''), w.id, b.job, j.id, b.position, b.source, b.target, b.at, b.reason,
  b.attempt, 'pending', (SELECT now_ms()), (SELECT now_ms())
FROM transitions b CROSS JOIN LATERAL (SELECT id, tenant FROM jobs WHERE number = b.job LIMIT 1) j
JOIN webhooks w ON w.disabled_at IS NULL AND (w.tenant = '' OR w.tenant = j.tenant) AND b.at >= w.created_at
  AND (w.events = '*' OR position(' job.' || b.target || ' ' IN ' ' || w.events || ' ') > 0)
WHERE (b.xid, b.seq) > ($1::text::xid8, $2::bigint) AND (b.xid, b.seq) <= ($3::text::xid8, $4::bigint) AND b.position = 1
ORDER BY b.xid, b.seq, w.id

-- name: move_relay
UPDATE webhook_relay SET xid = $1::text::xid8, seq = $2

-- name: next_message_due
-- The index has it for each webhook, so no message is read that is not due.
SELECT min(m.due_at) FROM webhooks w CROSS JOIN LATERAL (
  SELECT due_at FROM webhook_messages WHERE webhook = w.id AND state = 'pending' ORDER BY due_at LIMIT 1) m
WHERE w.disabled_at IS NULL

-- name: lease_messages
-- The first of each job, and only where no earlier one of that job waits. $1 says which webhooks are busy.
WITH due AS MATERIALIZED (
  SELECT m.seq FROM webhooks w CROSS JOIN LATERAL (
    SELECT d.seq, d.due_at FROM webhook_messages d WHERE d.webhook = w.id AND d.state = 'pending' AND d.due_at <= (SELECT now_ms())
      AND NOT EXISTS (
        SELECT 1 FROM webhook_messages e
        WHERE e.webhook = d.webhook AND e.job = d.job AND e.state = 'pending' AND e.seq < d.seq)
    ORDER BY d.due_at, d.seq LIMIT $2 FOR UPDATE SKIP LOCKED) m
  WHERE w.disabled_at IS NULL AND w.id <> ALL ($1::text[])
  ORDER BY m.due_at, m.seq LIMIT $3)
UPDATE webhook_messages m SET attempts = m.attempts + 1, due_at = now_ms() + $4::bigint
FROM due WHERE m.seq = due.seq RETURNING m.seq

-- name: leased_messages
SELECT m.webhook, w.url, w.secret, CASE WHEN w.old_until > now_ms() THEN w.old_secret END, m.id, m.seq, m.attempts, m.job_id,
  m.job, m.source, m.target, m.at, m.reason, m.attempt, a.failure_class, j.tenant, j.profile, j.labels
FROM webhook_messages m JOIN webhooks w ON w.id = m.webhook LEFT JOIN jobs j ON j.number = m.job
LEFT JOIN attempts a ON a.job = m.job AND a.position = m.position AND a.attempt = m.attempt
WHERE m.seq = ANY ($1::bigint[]) ORDER BY m.seq

-- name: end_message
UPDATE webhook_messages SET state = $3, ended_at = now_ms(), result = $4
WHERE seq = $1 AND attempts = $2 AND state = 'pending' RETURNING seq

-- name: postpone_message
UPDATE webhook_messages SET due_at = now_ms() + $3::bigint, result = $4
WHERE seq = $1 AND attempts = $2 AND state = 'pending' RETURNING webhook, job, due_at

-- name: postpone_others
-- What waits behind it need not be looked at before.
UPDATE webhook_messages SET due_at = $4 WHERE webhook = $1 AND job = $2 AND state = 'pending' AND seq > $3 AND due_at < $4

-- name: deliveries
SELECT id, seq, job_id, job, target, state, attempts, created_at, due_at, ended_at, result
FROM webhook_messages WHERE webhook = $1 AND seq < $2 AND ($4 = '' OR state = $4) ORDER BY seq DESC LIMIT $3

-- name: replay_one
UPDATE webhook_messages SET state = 'pending', attempts = 0, due_at = now_ms(), ended_at = NULL
WHERE webhook = $1 AND id = $2 AND state <> 'pending' RETURNING seq

-- name: replay_dead
UPDATE webhook_messages SET state = 'pending', attempts = 0, due_at = now_ms(), ended_at = NULL
WHERE webhook = $1 AND state = 'dead' RETURNING seq

-- name: forget_messages
DELETE FROM webhook_messages WHERE seq IN (
  SELECT seq FROM webhook_messages WHERE state = $1 AND state <> 'pending' AND ended_at < now_ms() - $2::bigint
  ORDER BY ended_at LIMIT $3)
RETURNING seq

-- name: count_messages
SELECT state, count(*) FROM webhook_messages WHERE state = 'pending' OR state = 'dead' GROUP BY state
