-- Tenants: quotas with their counts, fair share, and what uploads take. Times are integer milliseconds since 1970 in UTC.

-- `running`, `queued`, `accepted` (on `day`, in days since 1970) and `stored` are counts; `running` is kept where it is limited.
CREATE TABLE tenants (
  name TEXT PRIMARY KEY,
  by_default INTEGER NOT NULL,
  max_concurrent INTEGER,
  max_queued INTEGER,
  max_per_day INTEGER,
  max_storage INTEGER,
  inputs TEXT NOT NULL,
  outputs TEXT NOT NULL,
  changed_at INTEGER NOT NULL,
  running INTEGER NOT NULL,
  queued INTEGER NOT NULL,
  day INTEGER NOT NULL,
  accepted INTEGER NOT NULL,
  stored INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tenants_bounded ON tenants (name) WHERE max_concurrent IS NOT NULL;

CREATE TABLE uploads (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX uploads_by_tenant ON uploads (tenant);

-- `lane` is the tenant whose concurrent limit bounds the task, or empty. `line` is the head start of the task's weight where it
-- opened a turn (domain/turns.py). `stored` is how many bytes of its outputs the master keeps.
ALTER TABLE tasks ADD COLUMN lane TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN line INTEGER;
ALTER TABLE tasks ADD COLUMN stored INTEGER NOT NULL DEFAULT 0;

UPDATE tasks SET stored = (SELECT coalesce(sum(o.size), 0) FROM outputs o WHERE o.job = tasks.job AND o.location LIKE 'master:%')
WHERE state = 'completed' AND position = 1;

CREATE INDEX tasks_lanes ON tasks (class_id, lane, rank, job, position) WHERE state = 'queued';
CREATE INDEX tasks_turns ON tasks (class_id, line, rank) WHERE state = 'queued' AND line IS NOT NULL;

-- The rank of the last turn of each tenant that did not open the newest one of its line.
CREATE TABLE turns (
  class_id INTEGER NOT NULL,
  line INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  rank INTEGER NOT NULL,
  PRIMARY KEY (class_id, line, tenant)
) STRICT, WITHOUT ROWID;
