-- What binds a worker to its own. Times are integer milliseconds since 1970 in UTC.

-- `key_id`: the key that the node registered with; empty for the one that masters are started with, NULL where an older master
-- did not say. `boots`: the boot ids under which it has registered; `booted_at`: when it did last.
ALTER TABLE node_facts
  ADD COLUMN key_id text,
  ADD COLUMN boots text NOT NULL DEFAULT '',
  ADD COLUMN booted_at bigint NOT NULL DEFAULT 0;
UPDATE node_facts f SET boots = n.boot_id FROM nodes n WHERE n.id = f.node_id;

-- Outputs that were sent to a master, as it counted and hashed them, until their attempt completes.
CREATE TABLE arrivals (
  job bigint NOT NULL,
  position bigint NOT NULL,
  attempt bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  sha256 text NOT NULL,
  size bigint NOT NULL,
  PRIMARY KEY (job, position, attempt, name)
);
