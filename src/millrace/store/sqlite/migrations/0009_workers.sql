-- What binds a worker to its own. Times are integer milliseconds since 1970 in UTC.

-- `key_id`: the key that the node registered with; empty for the one that masters are started with, NULL where an older master
-- did not say. `boots`: the boot ids under which it has registered; `booted_at`: when it did last.
ALTER TABLE node_facts ADD COLUMN key_id TEXT;
ALTER TABLE node_facts ADD COLUMN boots TEXT NOT NULL DEFAULT '';
ALTER TABLE node_facts ADD COLUMN booted_at INTEGER NOT NULL DEFAULT 0;
UPDATE node_facts SET boots = (SELECT boot_id FROM nodes WHERE id = node_id);

-- Outputs that were sent to a master, as it counted and hashed them, until their attempt completes.
CREATE TABLE arrivals (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  name TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (job, position, attempt, name)
) STRICT, WITHOUT ROWID;
