-- Quarantine of nodes, and the nodes that a task had better not go to next. Times are integer milliseconds since 1970 in UTC.

ALTER TABLE tasks ADD COLUMN avoid TEXT;

-- SQLite changes no CHECK, so the table is made anew. What refers to it goes first: dropping it would take those rows along.
CREATE TABLE kept_node_facts AS SELECT node_id, labels, facts FROM node_facts;
DROP TABLE node_facts;
ALTER TABLE nodes RENAME TO old_nodes;

CREATE TABLE nodes (
  id TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL UNIQUE,
  boot_id TEXT NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state = 'ready' OR state = 'draining' OR state = 'quarantined' OR state = 'lost'),
  epoch INTEGER NOT NULL,
  slots INTEGER NOT NULL,
  registered_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO nodes (id, fingerprint, boot_id, name, state, epoch, slots, registered_at, seen_at, lease_until)
SELECT id, fingerprint, boot_id, name, state, epoch, slots, registered_at, seen_at, lease_until FROM old_nodes;
DROP TABLE old_nodes;

CREATE TABLE node_facts (
  node_id TEXT PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
  labels TEXT NOT NULL,
  facts TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO node_facts (node_id, labels, facts) SELECT node_id, labels, facts FROM kept_node_facts;
DROP TABLE kept_node_facts;

-- The last quarantine of each node. It stands until it is released, also while the node is lost.
CREATE TABLE quarantines (
  node_id TEXT PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
  reason TEXT NOT NULL,
  since INTEGER NOT NULL,
  proof_due INTEGER NOT NULL,
  times INTEGER NOT NULL,
  released_at INTEGER
) STRICT, WITHOUT ROWID;

-- Jobs that a node failed and another finished.
CREATE TABLE node_blames (
  node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
  job INTEGER NOT NULL,
  at INTEGER NOT NULL,
  failure_class TEXT NOT NULL,
  failure_message TEXT NOT NULL,
  PRIMARY KEY (node_id, job)
) STRICT, WITHOUT ROWID;

-- Webhooks. What has happened stands in `transitions`, written with the change itself; `webhook_relay` says up to where
-- messages were made of it, and moves in the transaction that makes them.
CREATE TABLE webhooks (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  url TEXT NOT NULL,
  events TEXT NOT NULL,
  secret TEXT NOT NULL,
  old_secret TEXT,
  old_until INTEGER,
  created_at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  disabled_at INTEGER,
  disabled_why TEXT NOT NULL DEFAULT '',
  CHECK ((old_secret IS NULL) = (old_until IS NULL))
) STRICT, WITHOUT ROWID;

-- `due_at` is when the next attempt may begin; while one is under way, when its lease ends.
CREATE TABLE webhook_messages (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  webhook TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
  job INTEGER NOT NULL,
  job_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  source TEXT,
  target TEXT NOT NULL,
  at INTEGER NOT NULL,
  reason TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state = 'pending' OR state = 'delivered' OR state = 'dead'),
  attempts INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  ended_at INTEGER,
  result TEXT NOT NULL DEFAULT '',
  CHECK ((ended_at IS NULL) = (state = 'pending'))
) STRICT;

CREATE INDEX webhook_messages_due ON webhook_messages (webhook, due_at, seq) WHERE state = 'pending';
CREATE INDEX webhook_messages_order ON webhook_messages (webhook, job, seq) WHERE state = 'pending';
CREATE INDEX webhook_messages_ended ON webhook_messages (state, ended_at) WHERE state <> 'pending';
CREATE INDEX webhook_messages_log ON webhook_messages (webhook, seq);

CREATE TABLE webhook_relay (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  seq INTEGER NOT NULL
) STRICT;
