-- Machines that join with a token: keys that are bound to a node, the tokens (of which only the SHA-256 is kept), and the
-- fingerprint of the authority that signs for all masters. Times are integer milliseconds since 1970 in UTC.

ALTER TABLE api_keys ADD COLUMN node_id TEXT;
ALTER TABLE api_keys ADD COLUMN fingerprint TEXT;

CREATE UNIQUE INDEX api_keys_node ON api_keys (node_id) WHERE node_id IS NOT NULL AND revoked_at IS NULL;
CREATE UNIQUE INDEX api_keys_fingerprint ON api_keys (fingerprint) WHERE fingerprint IS NOT NULL AND revoked_at IS NULL;

CREATE TABLE invitations (
  digest BLOB PRIMARY KEY,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  used_at INTEGER,
  used_by BLOB,
  key_id TEXT,
  CHECK ((used_at IS NULL) = (used_by IS NULL)),
  CHECK ((used_at IS NULL) = (key_id IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX invitations_by_end ON invitations (expires_at);

CREATE TABLE authority (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  fingerprint TEXT NOT NULL
) STRICT;
