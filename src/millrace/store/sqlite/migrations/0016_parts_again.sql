-- Parts that two workers make, because the first is slow; and jobs that are planned anew, because nobody can make their parts.

-- Of a hedge: the position of the task that makes the same part.
ALTER TABLE tasks ADD COLUMN hedges INTEGER;

-- What is queued may be queued again. SQLite changes no CHECK, so the table is made anew.
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
    OR (source = 'queued' AND (target = 'queued' OR target = 'assigned' OR target = 'paused' OR target = 'canceled'
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
