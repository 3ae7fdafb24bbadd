-- The database itself.

-- name: ping
SELECT 1

-- name: try_write
-- The number is nobody's; writing it writes the first page, whether it changes or not.
PRAGMA user_version = 0

-- name: make_migrations
CREATE TABLE IF NOT EXISTS schema_migrations (
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  applied_at INTEGER NOT NULL
)

-- name: applied_migrations
SELECT version, name FROM schema_migrations

-- name: note_migration
INSERT INTO schema_migrations (version, name, applied_at) VALUES (?1, ?2, ?3)
