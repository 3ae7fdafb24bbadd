-- Machines that join with a token: keys that are bound to a node, the tokens (of which only the SHA-256 is kept), and the
-- fingerprint of the authority that signs for all masters. Times are integer milliseconds since 1970 in UTC.

ALTER TABLE api_keys ADD COLUMN node_id text;
ALTER TABLE api_keys ADD COLUMN fingerprint text;

CREATE UNIQUE INDEX api_keys_node ON api_keys (node_id) WHERE node_id IS NOT NULL AND revoked_at IS NULL;
CREATE UNIQUE INDEX api_keys_fingerprint ON api_keys (fingerprint) WHERE fingerprint IS NOT NULL AND revoked_at IS NULL;

CREATE TABLE invitations (
  digest bytea PRIMARY KEY,
  created_by text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  used_at bigint,
  used_by bytea,
  key_id text,
  CHECK ((used_at IS NULL) = (used_by IS NULL)),
  CHECK ((used_at IS NULL) = (key_id IS NULL))
);

CREATE INDEX invitations_by_end ON invitations (expires_at);

CREATE TABLE authority (
  one bigint PRIMARY KEY CHECK (one = 1),
  fingerprint text NOT NULL
);
