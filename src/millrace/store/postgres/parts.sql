-- Jobs that were split into parts.

-- name: next_position
SELECT max(position) + 1 FROM tasks WHERE job = $1

-- name: mark_split
-- The lead $1 was split by its present attempt; from now on it is of class $2.
UPDATE tasks SET split = attempt, own_class = coalesce(own_class, class_id), class_id = $2 WHERE job = $1 AND position = 1

-- name: keep_plan
INSERT INTO parts (job, position, kind, number, frames, plan) VALUES ($1, 1, 'join', 0, 0, $2)
ON CONFLICT (job, position) DO UPDATE SET plan = excluded.plan

-- name: add_parts
INSERT INTO parts (job, position, kind, number, frames)
SELECT $1, $2::int + ord::int - 1, kind, number, frames
FROM unnest($3::text[], $4::int[], $5::bigint[]) WITH ORDINALITY AS p (kind, number, frames, ord)

-- name: add_part_tasks
INSERT INTO tasks (job, position, class_id, rank, max_retries, state, queued_at, lane, split)
SELECT p.job, p.position, l.class_id, l.rank, l.max_retries, CASE WHEN w.job IS NULL THEN 'queued' ELSE 'pending' END,
  CASE WHEN w.job IS NULL THEN now_ms() END, l.lane, l.split
FROM parts p JOIN tasks l ON l.job = p.job AND l.position = 1 LEFT JOIN input_waits w ON w.job = p.job AND w.position = p.position
WHERE p.job = $1 AND p.position >= $2

-- name: add_part_transitions
INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
SELECT job, position, NULL, state, now_ms(), $3, 0, $4 FROM tasks WHERE job = $1 AND position >= $2 ORDER BY position

-- name: add_hedge_part
-- The part at $3 gets a second task, at $2.
INSERT INTO parts (job, position, kind, number, frames)
SELECT job, $2, kind, number, frames FROM parts WHERE job = $1 AND position = $3

-- name: add_hedge
INSERT INTO tasks (job, position, class_id, rank, max_retries, state, queued_at, lane, split, avoid, hedges)
SELECT job, $2, class_id, rank, max_retries, 'queued', now_ms(), lane, split, node_id, position
FROM tasks WHERE job = $1 AND position = $3

-- name: under_way_in_parts
-- Jobs that wait for parts of which somebody makes each.
SELECT j.id FROM tasks l JOIN jobs j ON j.number = l.job
WHERE l.position = 1 AND l.split IS NOT NULL AND l.state = 'pending'
  AND NOT EXISTS (SELECT FROM tasks t WHERE t.job = l.job AND t.split = l.split AND t.state = 'queued')
ORDER BY l.job LIMIT $1

-- name: standings
-- Of each job its tasks, in order, as in rows.standing.
SELECT t.job, j.id, t.position, p.kind, t.state, t.attempt, CASE WHEN t.node_id IS NOT NULL OR a.outcome = 'completed' THEN a.node_name END,
  coalesce(p.frames, 0), t.split, g.fraction, g.phase, g.frame, g.fps, g.speed, g.eta_s, g.updated_at, t.hedges,
  coalesce(p.number, 0)
FROM tasks t JOIN jobs j ON j.number = t.job
LEFT JOIN parts p ON p.job = t.job AND p.position = t.position
LEFT JOIN attempts a ON a.job = t.job AND a.position = t.position AND a.attempt = t.attempt
LEFT JOIN progress g ON g.job = t.job AND g.position = t.position AND g.attempt = t.attempt
WHERE t.job = ANY ($1::bigint[]) ORDER BY t.job, t.position

-- name: ended_splits
-- Jobs that have ended, and of which something may be kept that was handed between tasks; with the position of the last task.
SELECT j.id, (SELECT max(position) FROM tasks x WHERE x.job = p.job)
FROM parts p JOIN jobs j ON j.number = p.job JOIN tasks t ON t.job = p.job AND t.position = 1
WHERE p.plan IS NOT NULL AND t.finished_at IS NOT NULL ORDER BY p.job LIMIT $1

-- name: forget_plan
-- Unless the job has been split anew since: then its last task is another one.
UPDATE parts p SET plan = NULL FROM jobs j JOIN tasks t ON t.job = j.number AND t.position = 1
WHERE j.id = $1 AND t.finished_at IS NOT NULL AND p.job = j.number AND p.position = 1
  AND $2 = (SELECT max(position) FROM tasks x WHERE x.job = p.job)

-- name: forget_pieces
DELETE FROM arrivals WHERE job = (SELECT number FROM jobs WHERE id = $1) AND position BETWEEN 2 AND $2
