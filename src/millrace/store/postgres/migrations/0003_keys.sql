-- API keys: of a secret only its SHA-256 is kept. Times are integer milliseconds since 1970 in UTC.

CREATE TABLE api_keys (
  id text PRIMARY KEY,
  name text NOT NULL,
  role text NOT NULL CHECK (role IN ('viewer', 'submitter', 'operator', 'admin', 'worker')),
  tenant text NOT NULL,
  digest bytea NOT NULL UNIQUE,
  hint text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint,
  used_at bigint,
  revoked_at bigint,
  old_digest bytea,
  old_until bigint,
  CHECK ((old_digest IS NULL) = (old_until IS NULL))
);

CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX api_keys_old ON api_keys (old_digest) WHERE old_digest IS NOT NULL;
