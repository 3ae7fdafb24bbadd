-- Many jobs: those that run after others, batches, schedules. Times are integer milliseconds since 1970 in UTC.

-- Job `job` waits until job `after` has completed, or where `any_end` is 1 has ended. Its rows go once that is decided; until then
-- `after` is not deleted, so it is no reference.
CREATE TABLE dependencies (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  after INTEGER NOT NULL,
  any_end INTEGER NOT NULL,
  PRIMARY KEY (job, after)
) STRICT, WITHOUT ROWID;

CREATE INDEX dependencies_after ON dependencies (after);

CREATE TABLE batches (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  total INTEGER NOT NULL,
  actor TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  key TEXT,
  body_digest TEXT
) STRICT;

CREATE UNIQUE INDEX batches_keys ON batches (tenant, key) WHERE key IS NOT NULL;
CREATE INDEX batches_by_tenant ON batches (tenant, number);

CREATE TABLE batch_jobs (
  batch INTEGER NOT NULL REFERENCES batches (number) ON DELETE CASCADE,
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  PRIMARY KEY (batch, job)
) STRICT, WITHOUT ROWID;

CREATE INDEX batch_jobs_by_job ON batch_jobs (job);

-- `due_at` is empty while it is paused. `last_job` is the number of the last job that it submitted, which may be deleted since.
CREATE TABLE schedules (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  cron TEXT NOT NULL,
  zone TEXT NOT NULL,
  overlap TEXT NOT NULL,
  missed TEXT NOT NULL,
  request TEXT NOT NULL,
  actor TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  due_at INTEGER,
  last_job INTEGER,
  UNIQUE (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX schedules_due ON schedules (due_at) WHERE due_at IS NOT NULL;

-- One row for each time that came due, so that no time comes twice.
CREATE TABLE schedule_runs (
  schedule TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
  due_at INTEGER NOT NULL,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome = 'submitted' OR outcome = 'skipped' OR outcome = 'missed' OR outcome = 'refused'),
  reason TEXT NOT NULL,
  job INTEGER,
  PRIMARY KEY (schedule, due_at)
) STRICT, WITHOUT ROWID;
