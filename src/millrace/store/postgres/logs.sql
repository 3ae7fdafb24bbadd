-- Logs of attempts, as chunks that begin at byte offsets.

-- name: attempt_of_log
SELECT a.job FROM jobs j JOIN attempts a ON a.job = j.number WHERE j.id = $1 AND a.position = $2 AND a.attempt = $3

-- name: log_end
SELECT start + length(data) FROM log_chunks
WHERE job = $1 AND position = $2 AND attempt = $3 ORDER BY start DESC LIMIT 1

-- name: add_log_chunk
INSERT INTO log_chunks (job, position, attempt, start, data) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING RETURNING start

-- name: read_log
-- Begins with the chunk that covers the offset.
SELECT start, data FROM log_chunks
WHERE job = $1 AND position = $2 AND attempt = $3 AND start < $5 AND start >= coalesce(
  (SELECT max(start) FROM log_chunks WHERE job = $1 AND position = $2 AND attempt = $3 AND start <= $4), 0)
ORDER BY start
