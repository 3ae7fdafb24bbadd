-- API keys: of a secret only its SHA-256 is kept. Times are integer milliseconds since 1970 in UTC.

CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role = 'viewer' OR role = 'submitter' OR role = 'operator' OR role = 'admin' OR role = 'worker'),
  tenant TEXT NOT NULL,
  digest BLOB NOT NULL UNIQUE,
  hint TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  used_at INTEGER,
  revoked_at INTEGER,
  old_digest BLOB,
  old_until INTEGER,
  CHECK ((old_digest IS NULL) = (old_until IS NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX api_keys_old ON api_keys (old_digest) WHERE old_digest IS NOT NULL;
