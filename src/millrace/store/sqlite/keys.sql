-- API keys. Every key is read with the columns of rows.api_key, in that order. Live is what is neither revoked nor expired.

-- name: end_expired_name
-- An expired key gives its name away.
UPDATE api_keys SET revoked_at = expires_at WHERE name = ?1 AND revoked_at IS NULL AND expires_at <= ?2

-- name: add_api_key
INSERT INTO api_keys (id, name, role, tenant, digest, hint, created_at, expires_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?8, ?8 + ?7)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING id, name, role, tenant, hint, created_at, expires_at, used_at, revoked_at, old_until, node_id, fingerprint

-- name: live_keys
SELECT id, name, role, tenant, hint, created_at, expires_at, used_at, revoked_at, old_until, node_id, fingerprint
FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?1) ORDER BY created_at, id

-- name: all_keys
SELECT id, name, role, tenant, hint, created_at, expires_at, used_at, revoked_at, old_until, node_id, fingerprint
FROM api_keys ORDER BY created_at, id

-- name: key
SELECT id, name, role, tenant, hint, created_at, expires_at, used_at, revoked_at, old_until, node_id, fingerprint
FROM api_keys WHERE id = ?1

-- name: key_named
SELECT id, name, role, tenant, hint, created_at, expires_at, used_at, revoked_at, old_until, node_id, fingerprint
FROM api_keys WHERE name = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)

-- name: live_key_by_id
SELECT id, name, role, tenant, hint, created_at, expires_at, used_at, revoked_at, old_until, node_id, fingerprint
FROM api_keys WHERE id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)

-- name: live_key_by_digest
SELECT id, name, role, tenant, hint, created_at, expires_at, used_at, revoked_at, old_until, node_id, fingerprint
FROM api_keys
WHERE (digest = ?1 OR (old_digest = ?1 AND old_until > ?2))
  AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)

-- name: rotate_key
-- What was good until the grace of an earlier rotation ends now. Without grace nothing of the old secret is kept.
UPDATE api_keys SET
  old_digest = CASE WHEN ?4 > 0 THEN digest END, old_until = CASE WHEN ?4 > 0 THEN ?5 + ?4 END,
  digest = ?2, hint = ?3
WHERE id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?5)
RETURNING id, name, role, tenant, hint, created_at, expires_at, used_at, revoked_at, old_until, node_id, fingerprint

-- name: revoke_key
UPDATE api_keys SET revoked_at = COALESCE(revoked_at, ?2), old_digest = NULL, old_until = NULL
WHERE id = ?1 RETURNING id, name, role, tenant, hint, created_at, expires_at, used_at, revoked_at, old_until, node_id, fingerprint

-- name: delete_ended_keys
-- What was revoked after it had expired ended with the first of the two.
DELETE FROM api_keys WHERE id IN (
  SELECT id FROM api_keys
  WHERE MIN(COALESCE(revoked_at, expires_at), COALESCE(expires_at, revoked_at)) < ?1 ORDER BY id LIMIT ?2)

-- name: note_keys_used
UPDATE api_keys SET used_at = ?2 WHERE id IN (SELECT value FROM json_each(?1))
