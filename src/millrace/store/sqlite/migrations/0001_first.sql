-- Jobs, tasks, attempts, nodes, logs. Times are integer milliseconds since 1970 in UTC.
-- A task is addressed inside by its job's number and its position from 1; outside its id is the job's id, a dot, and
-- the position.
-- No CHECK asks with IN: SQLite would build a table of the words for every row that it checks, which costs more than the
-- row (4 of 6 microseconds).

CREATE TABLE requirement_classes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  digest TEXT NOT NULL UNIQUE,
  needs TEXT NOT NULL
) STRICT;

CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  queue TEXT NOT NULL,
  priority TEXT NOT NULL,
  classification TEXT,
  labels TEXT NOT NULL,
  profile TEXT NOT NULL,
  max_retries INTEGER NOT NULL,
  timeout_s REAL,
  state TEXT NOT NULL CHECK (state = 'pending' OR state = 'queued' OR state = 'assigned' OR state = 'processing'
    OR state = 'paused' OR state = 'retrying' OR state = 'completed' OR state = 'failed' OR state = 'canceled'
    OR state = 'rejected'),
  failure_class TEXT,
  failure_message TEXT,
  created_at INTEGER NOT NULL,
  due_at INTEGER,
  queued_at INTEGER,
  started_at INTEGER,
  finished_at INTEGER,
  CHECK ((failure_class IS NULL) = (failure_message IS NULL)),
  CHECK ((finished_at IS NOT NULL) = (state = 'completed' OR state = 'failed' OR state = 'canceled'
    OR state = 'rejected'))
) STRICT;

-- These three serve lists, counts and cleaning; the claim reads none of them.
CREATE INDEX jobs_by_state ON jobs (state, number);
CREATE INDEX jobs_by_tenant ON jobs (tenant, number);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE job_specs (
  job INTEGER PRIMARY KEY REFERENCES jobs (number) ON DELETE CASCADE,
  spec TEXT NOT NULL
) STRICT;

CREATE TABLE job_facts (
  job INTEGER PRIMARY KEY REFERENCES jobs (number) ON DELETE CASCADE,
  facts TEXT NOT NULL
) STRICT;

CREATE TABLE idempotency_keys (
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  body_digest TEXT NOT NULL,
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job);

CREATE TABLE tasks (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  class_id INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  max_retries INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state = 'pending' OR state = 'queued' OR state = 'assigned' OR state = 'processing'
    OR state = 'paused' OR state = 'retrying' OR state = 'completed' OR state = 'failed' OR state = 'canceled'
    OR state = 'rejected'),
  attempt INTEGER NOT NULL DEFAULT 0,
  spent INTEGER NOT NULL DEFAULT 0,
  losses INTEGER NOT NULL DEFAULT 0,
  node_id TEXT,
  node_epoch INTEGER,
  claim_request TEXT,
  started INTEGER NOT NULL DEFAULT 0,
  claimed_at INTEGER,
  queued_at INTEGER,
  due_at INTEGER,
  PRIMARY KEY (job, position),
  CHECK ((node_id IS NULL) = (node_epoch IS NULL)),
  CHECK (node_id IS NULL OR state = 'assigned' OR state = 'processing' OR state = 'paused'),
  CHECK ((state <> 'assigned' AND state <> 'processing') OR node_id IS NOT NULL),
  CHECK (state <> 'queued' OR queued_at IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- Hot indexes: none holds a finished task, so none grows with the history.
CREATE INDEX tasks_queued ON tasks (class_id, rank, job, position) WHERE state = 'queued';
CREATE INDEX tasks_waiting ON tasks (class_id, queued_at) WHERE state = 'queued';
CREATE INDEX tasks_due ON tasks (due_at) WHERE state IN ('pending', 'retrying') AND due_at IS NOT NULL;
CREATE INDEX tasks_held ON tasks (node_id, claim_request) WHERE node_id IS NOT NULL;

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
    OR outcome = 'lost'),
  failure_class TEXT,
  failure_message TEXT,
  PRIMARY KEY (job, position, attempt),
  CHECK ((failure_class IS NULL) = (failure_message IS NULL)),
  CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE progress (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  fraction REAL NOT NULL,
  phase TEXT NOT NULL,
  frame INTEGER NOT NULL,
  fps REAL NOT NULL,
  speed REAL NOT NULL,
  eta_s REAL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE outputs (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  name TEXT NOT NULL,
  location TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  size INTEGER NOT NULL,
  streams TEXT NOT NULL,
  PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;

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
      OR target = 'retrying' OR target = 'completed' OR target = 'failed' OR target = 'canceled'))
    OR (source = 'processing' AND (target = 'queued' OR target = 'paused' OR target = 'retrying'
      OR target = 'completed' OR target = 'failed' OR target = 'canceled'))
    OR (source = 'paused' AND (target = 'pending' OR target = 'queued' OR target = 'assigned'
      OR target = 'processing' OR target = 'paused' OR target = 'retrying' OR target = 'completed'
      OR target = 'failed' OR target = 'canceled'))
    OR (source = 'retrying' AND (target = 'queued' OR target = 'paused' OR target = 'failed' OR target = 'canceled'))
    OR (source = 'failed' AND target = 'queued')
    OR (source = 'canceled' AND target = 'queued')
    OR (source = 'rejected' AND target = 'queued')
  )
) STRICT;

CREATE INDEX transitions_by_job ON transitions (job, seq);

CREATE TABLE nodes (
  id TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL UNIQUE,
  boot_id TEXT NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state = 'ready' OR state = 'draining' OR state = 'lost'),
  epoch INTEGER NOT NULL,
  slots INTEGER NOT NULL,
  registered_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a heartbeat does not change stands apart, so that a heartbeat rewrites a small row.
CREATE TABLE node_facts (
  node_id TEXT PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
  labels TEXT NOT NULL,
  facts TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE log_chunks (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  start INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (job, position, attempt, start)
) STRICT;
