-- The database itself.

-- name: ping
SELECT 1

-- name: try_write
UPDATE schema_migrations SET applied_at = applied_at WHERE version = 1

-- name: make_migrations
CREATE TABLE IF NOT EXISTS schema_migrations (
  version integer PRIMARY KEY,
  name text NOT NULL,
  applied_at bigint NOT NULL
)

-- name: applied_migrations
SELECT version, name FROM schema_migrations

-- name: note_migration
INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, now_ms())
