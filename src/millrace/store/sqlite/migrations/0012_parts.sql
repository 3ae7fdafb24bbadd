-- Jobs whose lead task (position 1) was split into parts, which several workers make.

-- `split`: in a lead that was split, the attempt that did so; in a part, that attempt of its lead. `own_class`: the class of the
-- lead before, which it gets back when the job is retried.
ALTER TABLE tasks ADD COLUMN split INTEGER;
ALTER TABLE tasks ADD COLUMN own_class INTEGER;

-- What each task of a split job makes. `plan` stands in the row of the lead until the job has ended and its pieces are deleted.
CREATE TABLE parts (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  kind TEXT NOT NULL,
  number INTEGER NOT NULL,
  frames INTEGER NOT NULL,
  plan TEXT,
  PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX parts_kept ON parts (job) WHERE plan IS NOT NULL;

-- SQLite changes no CHECK, so two tables are made anew.
ALTER TABLE attempts RENAME TO old_attempts;

CREATE TABLE attempts (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  node_id TEXT NOT NULL,
  node_name TEXT NOT NULL,
  claim_request TEXT NOT NULL,
  claimed_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  outcome TEXT CHECK (outcome = 'completed' OR outcome = 'failed' OR outcome = 'canceled' OR outcome = 'handed_back'
    OR outcome = 'lost' OR outcome = 'split'),
  failure_class TEXT,
  failure_message TEXT,
  PRIMARY KEY (job, position, attempt),
  CHECK ((failure_class IS NULL) = (failure_message IS NULL)),
  CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;

INSERT INTO attempts SELECT job, position, attempt, node_id, node_name, claim_request, claimed_at, started_at, ended_at, outcome,
  failure_class, failure_message FROM old_attempts;
DROP TABLE old_attempts;

ALTER TABLE transitions RENAME TO old_transitions;

CREATE TABLE transitions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  source TEXT,
  target TEXT NOT NULL,
  at INTEGER NOT NULL,
  reason TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  actor TEXT NOT NULL,
  CHECK (
    (source IS NULL AND (target = 'pending' OR target = 'queued'))
    OR (source = 'pending' AND (target = 'queued' OR target = 'paused' OR target = 'failed' OR target = 'canceled'
      OR target = 'rejected'))
    OR (source = 'queued' AND (target = 'assigned' OR target = 'paused' OR target = 'canceled'
      OR target = 'rejected'))
    OR (source = 'assigned' AND (target = 'queued' OR target = 'processing' OR target = 'paused'
      OR target = 'retrying' OR target = 'completed' OR target = 'failed' OR target = 'canceled' OR target = 'pending'))
    OR (source = 'processing' AND (target = 'queued' OR target = 'paused' OR target = 'retrying'
      OR target = 'completed' OR target = 'failed' OR target = 'canceled' OR target = 'pending'))
    OR (source = 'paused' AND (target = 'pending' OR target = 'queued' OR target = 'assigned'
      OR target = 'processing' OR target = 'paused' OR target = 'retrying' OR target = 'completed'
      OR target = 'failed' OR target = 'canceled'))
    OR (source = 'retrying' AND (target = 'queued' OR target = 'paused' OR target = 'failed' OR target = 'canceled'))
    OR (source = 'failed' AND target = 'queued')
    OR (source = 'canceled' AND target = 'queued')
    OR (source = 'rejected' AND target = 'queued')
  )
) STRICT;

INSERT INTO transitions SELECT seq, job, position, source, target, at, reason, attempt, actor FROM old_transitions;
-- A number that was given is never given again, although its row is gone: cursors look ahead only.
DELETE FROM sqlite_sequence WHERE name = 'transitions';
INSERT INTO sqlite_sequence (name, seq) SELECT 'transitions', seq FROM sqlite_sequence WHERE name = 'old_transitions';
DROP TABLE old_transitions;

CREATE INDEX transitions_by_job ON transitions (job, seq);
