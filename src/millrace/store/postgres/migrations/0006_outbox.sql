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

-- Webhooks. What has happened stands in `transitions`, written with the change itself; `webhook_relay` says up to where
-- messages were made of it, and moves in the transaction that makes them.
CREATE TABLE webhooks (
  id text COLLATE "C" PRIMARY KEY,
  tenant text NOT NULL,
  url text NOT NULL,
  events text NOT NULL,
  secret text NOT NULL,
  old_secret text,
  old_until bigint,
  created_at bigint NOT NULL,
  actor text NOT NULL,
  disabled_at bigint,
  disabled_why text NOT NULL DEFAULT '',
  CHECK ((old_secret IS NULL) = (old_until IS NULL))
);

-- `due_at` is when the next attempt may begin; while one is under way, when its lease ends.
CREATE TABLE webhook_messages (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text NOT NULL UNIQUE,
  webhook text COLLATE "C" NOT NULL,
  job bigint NOT NULL,
  job_id text NOT NULL,
  position bigint NOT NULL,
  source text,
  target text NOT NULL,
  at bigint NOT NULL,
  reason text NOT NULL,
  attempt bigint NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
  attempts bigint NOT NULL DEFAULT 0,
  created_at bigint NOT NULL,
  due_at bigint NOT NULL,
  ended_at bigint,
  result text NOT NULL DEFAULT '',
  CHECK ((ended_at IS NULL) = (state = 'pending'))
);

CREATE INDEX webhook_messages_due ON webhook_messages (webhook, due_at, seq) WHERE state = 'pending';
CREATE INDEX webhook_messages_order ON webhook_messages (webhook, job, seq) WHERE state = 'pending';
CREATE INDEX webhook_messages_ended ON webhook_messages (state, ended_at) WHERE state <> 'pending';
CREATE INDEX webhook_messages_log ON webhook_messages (webhook, seq);

CREATE TABLE webhook_relay (
  one integer PRIMARY KEY CHECK (one = 1),
  xid xid8 NOT NULL,
  seq bigint NOT NULL
);
