-- Quarantine of nodes, and the nodes that a task had better not go to next. Times are integer milliseconds since 1970 in UTC.

ALTER TABLE tasks ADD COLUMN avoid text;

ALTER TABLE nodes DROP CONSTRAINT nodes_state_check;
ALTER TABLE nodes ADD CONSTRAINT nodes_state_check CHECK (state IN ('ready', 'draining', 'quarantined', 'lost'));

-- The last quarantine of each node. It stands until it is released, also while the node is lost.
CREATE TABLE quarantines (
  node_id text COLLATE "C" PRIMARY KEY,
  reason text NOT NULL,
  since bigint NOT NULL,
  proof_due bigint NOT NULL,
  times integer NOT NULL,
  released_at bigint
);

-- Jobs that a node failed and another finished.
CREATE TABLE node_blames (
  node_id text COLLATE "C" NOT NULL,
  job bigint NOT NULL,
  at bigint NOT NULL,
  failure_class text NOT NULL,
  failure_message text NOT NULL,
  PRIMARY KEY (node_id, job)
);
