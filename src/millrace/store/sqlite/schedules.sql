-- Schedules and their runs, read with the columns of rows.schedule and rows.run, in that order.

-- name: add_schedule
INSERT INTO schedules (id, tenant, name, cron, zone, overlap, missed, request, actor, created_at, due_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (tenant, name) DO NOTHING RETURNING id

-- name: schedules
SELECT s.id, s.tenant, s.name, s.cron, s.zone, s.overlap, s.missed, s.request, s.actor, s.created_at, s.due_at, s.last_job, j.state
FROM schedules s LEFT JOIN jobs j ON j.number = s.last_job ORDER BY s.tenant, s.name

-- name: schedule
SELECT s.id, s.tenant, s.name, s.cron, s.zone, s.overlap, s.missed, s.request, s.actor, s.created_at, s.due_at, s.last_job, j.state
FROM schedules s LEFT JOIN jobs j ON j.number = s.last_job WHERE s.id = ?1

-- name: due_schedules
SELECT s.id, s.tenant, s.name, s.cron, s.zone, s.overlap, s.missed, s.request, s.actor, s.created_at, s.due_at, s.last_job, j.state
FROM schedules s LEFT JOIN jobs j ON j.number = s.last_job
WHERE s.due_at IS NOT NULL AND s.due_at <= ?1 ORDER BY s.due_at, s.id LIMIT ?2

-- name: set_schedule_due
UPDATE schedules SET due_at = ?2 WHERE id = ?1 RETURNING id

-- name: remove_schedule
DELETE FROM schedules WHERE id = ?1 RETURNING id

-- name: take_schedule
-- Whoever comes second finds it due at another moment, or with another job.
UPDATE schedules SET due_at = ?4 WHERE id = ?1 AND due_at IS ?2 AND last_job IS ?3 RETURNING id

-- name: run_of
SELECT at FROM schedule_runs WHERE schedule = ?1 AND due_at = ?2

-- name: add_run
INSERT INTO schedule_runs (schedule, due_at, at, actor, outcome, reason, job) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
RETURNING at

-- name: set_last_job
UPDATE schedules SET last_job = ?2 WHERE id = ?1

-- name: forget_runs
-- All but the newest ?2.
DELETE FROM schedule_runs WHERE schedule = ?1 AND due_at < (
  SELECT min(due_at) FROM (SELECT due_at FROM schedule_runs WHERE schedule = ?1 ORDER BY due_at DESC LIMIT ?2))

-- name: runs
SELECT r.due_at, r.at, r.actor, r.outcome, r.reason, r.job, j.state
FROM schedule_runs r LEFT JOIN jobs j ON j.number = r.job
WHERE r.schedule = ?1 ORDER BY r.due_at DESC LIMIT ?2
