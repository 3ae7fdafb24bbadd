-- PostgreSQL writes a whole new row and an entry into each index whenever a state changes, and reads every CHECK of a table
-- anew for each statement. So what changes with each claim and report stands in one row, that of the task, and `jobs`
-- keeps what never changes (a job has one task, whose state is the job's); and each table of the hot path has one CHECK: a
-- function, which a connection reads once. The functions call no others, so that a dump can be restored.

CREATE FUNCTION is_sound_task(
  state text, node_id text, node_epoch bigint, queued_at bigint, failure_class text, failure_message text, finished_at bigint)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$ BEGIN RETURN
  (state IN ('pending', 'queued', 'assigned', 'processing', 'paused', 'retrying', 'completed', 'failed', 'canceled', 'rejected'))
  AND ((node_id IS NULL) = (node_epoch IS NULL))
  AND (node_id IS NULL OR state IN ('assigned', 'processing', 'paused'))
  AND (state NOT IN ('assigned', 'processing') OR node_id IS NOT NULL)
  AND (state <> 'queued' OR queued_at IS NOT NULL)
  AND ((failure_class IS NULL) = (failure_message IS NULL))
  AND ((finished_at IS NOT NULL) = (state IN ('completed', 'failed', 'canceled', 'rejected')))
; END $$;

CREATE FUNCTION is_sound_attempt(ended_at bigint, outcome text, failure_class text, failure_message text)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$ BEGIN RETURN
  (outcome IS NULL OR outcome IN ('completed', 'failed', 'canceled', 'handed_back', 'lost'))
  AND ((ended_at IS NULL) = (outcome IS NULL))
  AND ((failure_class IS NULL) = (failure_message IS NULL))
; END $$;

CREATE FUNCTION is_legal_transition(source text, target text)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$ BEGIN RETURN
  (source IS NULL AND target IN ('pending', 'queued'))
  OR (source = 'pending' AND target IN ('queued', 'paused', 'failed', 'canceled', 'rejected'))
  OR (source = 'queued' AND target IN ('assigned', 'paused', 'canceled', 'rejected'))
  OR (source = 'assigned' AND target IN ('queued', 'processing', 'paused', 'retrying', 'completed', 'failed', 'canceled'))
  OR (source = 'processing' AND target IN ('queued', 'paused', 'retrying', 'completed', 'failed', 'canceled'))
  OR (source = 'paused' AND target IN ('pending', 'queued', 'assigned', 'processing', 'paused', 'retrying', 'completed', 'failed', 'canceled'))
  OR (source = 'retrying' AND target IN ('queued', 'paused', 'failed', 'canceled'))
  OR (source = 'failed' AND target IN ('queued'))
  OR (source = 'canceled' AND target IN ('queued'))
  OR (source = 'rejected' AND target IN ('queued'))
; END $$;

DROP INDEX tasks_held;

-- `due_at` is set while the task waits for it; `job_due_at` is the last that there was. One request of a node is served once,
-- though its repetition reach another master at the same moment: of two tasks with the same seat in the same request, the
-- database refuses the second.
ALTER TABLE tasks
  ADD COLUMN seat integer,
  ADD COLUMN job_due_at bigint,
  ADD COLUMN started_at bigint,
  ADD COLUMN finished_at bigint,
  ADD COLUMN failure_class text,
  ADD COLUMN failure_message text,
  ADD COLUMN facts text;

UPDATE tasks t SET
  seat = s.seat, job_due_at = j.due_at, queued_at = j.queued_at, started_at = j.started_at, finished_at = j.finished_at,
  failure_class = j.failure_class, failure_message = j.failure_message, facts = f.facts
FROM (
  SELECT job, position,
    CASE WHEN node_id IS NOT NULL THEN row_number() OVER (PARTITION BY node_id, claim_request ORDER BY rank, job) END AS seat
  FROM tasks) s
JOIN jobs j ON j.number = s.job LEFT JOIN job_facts f ON f.job = s.job
WHERE t.job = s.job AND t.position = s.position;

DROP TABLE job_facts;

-- With these columns go their CHECKs and indexes.
ALTER TABLE jobs
  DROP COLUMN state, DROP COLUMN failure_class, DROP COLUMN failure_message, DROP COLUMN due_at, DROP COLUMN queued_at,
  DROP COLUMN started_at, DROP COLUMN finished_at,
  RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay);

-- Keys are compared byte by byte: nobody here needs the order of a language, which costs more.
ALTER TABLE jobs ALTER COLUMN id TYPE text COLLATE "C", ALTER COLUMN tenant TYPE text COLLATE "C";
ALTER TABLE idempotency_keys ALTER COLUMN tenant TYPE text COLLATE "C", ALTER COLUMN key TYPE text COLLATE "C";
ALTER TABLE nodes ALTER COLUMN id TYPE text COLLATE "C";
ALTER TABLE node_facts ALTER COLUMN node_id TYPE text COLLATE "C";
ALTER TABLE outputs ALTER COLUMN name TYPE text COLLATE "C";

ALTER TABLE tasks DROP CONSTRAINT tasks_state_check, DROP CONSTRAINT tasks_check, DROP CONSTRAINT tasks_check1, DROP CONSTRAINT tasks_check2, DROP CONSTRAINT tasks_check3;
ALTER TABLE tasks
  ALTER COLUMN state TYPE text COLLATE "C", ALTER COLUMN node_id TYPE text COLLATE "C", ALTER COLUMN claim_request TYPE text COLLATE "C",
  ADD CONSTRAINT tasks_sound CHECK (
    is_sound_task(state, node_id, node_epoch, queued_at, failure_class, failure_message, finished_at));
CREATE UNIQUE INDEX tasks_held ON tasks (node_id, claim_request, seat) WHERE node_id IS NOT NULL;

-- These two serve lists, counts and cleaning; the claim reads neither.
CREATE INDEX tasks_by_state ON tasks (state, job);
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;

ALTER TABLE attempts DROP CONSTRAINT attempts_outcome_check, DROP CONSTRAINT attempts_check, DROP CONSTRAINT attempts_check1;
ALTER TABLE attempts ADD CONSTRAINT attempts_sound CHECK (is_sound_attempt(ended_at, outcome, failure_class, failure_message));

ALTER TABLE transitions DROP CONSTRAINT transitions_check;
ALTER TABLE transitions ADD CONSTRAINT transitions_legal CHECK (is_legal_transition(source, target));

-- Always empty. Each claim takes a weak lock on this table before it looks, so that removing a node can wait for the claims
-- that still know it.
CREATE TABLE claims_gate ();
