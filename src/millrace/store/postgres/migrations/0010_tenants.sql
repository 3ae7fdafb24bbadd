-- Tenants: quotas with their counts, fair share, and what uploads take. Times are integer milliseconds since 1970 in UTC.

-- `running`, `queued`, `accepted` (on `day`, in days since 1970) and `stored` are counts; `running` is kept where it is limited.
-- Every statement that counts holds a lock on this table from before its snapshot, so who locks the table alone, and then counts
-- what there is, misses nothing.
CREATE TABLE tenants (
  name text COLLATE "C" PRIMARY KEY,
  by_default boolean NOT NULL,
  max_concurrent bigint,
  max_queued bigint,
  max_per_day bigint,
  max_storage bigint,
  inputs text NOT NULL,
  outputs text NOT NULL,
  changed_at bigint NOT NULL,
  running bigint NOT NULL,
  queued bigint NOT NULL,
  day bigint NOT NULL,
  accepted bigint NOT NULL,
  stored bigint NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE INDEX tenants_bounded ON tenants (name) WHERE max_concurrent IS NOT NULL;

CREATE TABLE uploads (
  id text COLLATE "C" PRIMARY KEY,
  tenant text COLLATE "C" NOT NULL,
  size bigint NOT NULL
);

CREATE INDEX uploads_by_tenant ON uploads (tenant);

-- `lane` is the tenant whose concurrent limit bounds the task, or empty. `line` is the head start of the task's weight where it
-- opened a turn (domain/turns.py). `stored` is how many bytes of its outputs the master keeps.
ALTER TABLE tasks
  ADD COLUMN lane text COLLATE "C" NOT NULL DEFAULT '',
  ADD COLUMN line bigint,
  ADD COLUMN stored bigint NOT NULL DEFAULT 0;

UPDATE tasks t SET stored = o.size
FROM (SELECT job, sum(size)::bigint AS size FROM outputs WHERE location LIKE 'master:%' GROUP BY job) o
WHERE t.job = o.job AND t.state = 'completed' AND t.position = 1;

CREATE INDEX tasks_lanes ON tasks (class_id, lane, rank, job, position) WHERE state = 'queued';
CREATE INDEX tasks_turns ON tasks (class_id, line, rank) WHERE state = 'queued' AND line IS NOT NULL;

-- The rank of the last turn of each tenant that did not open the newest one of its line.
CREATE TABLE turns (
  class_id integer NOT NULL,
  line bigint NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  rank bigint NOT NULL,
  PRIMARY KEY (class_id, line, tenant)
) WITH (fillfactor = 50);
