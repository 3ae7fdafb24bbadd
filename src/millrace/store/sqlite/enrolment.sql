-- Machines that join. Every key is read with the columns of rows.api_key, in that order.

-- name: forget_invitations
-- Those that ended a day ago.
DELETE FROM invitations WHERE expires_at < ?1 - 86400000

-- name: add_invitation
INSERT INTO invitations (digest, created_by, created_at, expires_at)
VALUES (?1, ?2, ?4, ?4 + ?3)
RETURNING expires_at

-- name: live_invitation
SELECT 1 FROM invitations WHERE digest = ?1 AND expires_at > ?3 AND (used_by IS NULL OR used_by = ?2)

-- name: take_invitation
-- The first public key takes it, and nobody else; who comes with the same one again is told the same key.
UPDATE invitations SET used_at = COALESCE(used_at, ?4), used_by = ?2, key_id = COALESCE(key_id, ?3)
WHERE digest = ?1 AND expires_at > ?4 AND (used_by IS NULL OR used_by = ?2)
RETURNING key_id

-- name: end_key_of_fingerprint
UPDATE api_keys SET revoked_at = ?2, old_digest = NULL, old_until = NULL
WHERE fingerprint = ?1 AND revoked_at IS NULL RETURNING node_id

-- name: node_of_fingerprint
SELECT id FROM nodes WHERE fingerprint = ?1

-- name: add_key_of_node
INSERT INTO api_keys (id, name, role, tenant, digest, hint, created_at, node_id, fingerprint)
VALUES (?1, ?2, 'worker', '', ?3, ?4, ?6, ?2, ?5)
ON CONFLICT DO NOTHING
RETURNING id, name, role, tenant, hint, created_at, expires_at, used_at, revoked_at, old_until, node_id, fingerprint

-- name: end_keys_of_node
UPDATE api_keys SET revoked_at = ?2, old_digest = NULL, old_until = NULL WHERE node_id = ?1 AND revoked_at IS NULL

-- name: expel_node
UPDATE nodes SET state = 'lost', epoch = epoch + 1 WHERE id = ?1 AND state <> 'lost'

-- name: note_authority
INSERT INTO authority (one, fingerprint) VALUES (1, ?1) ON CONFLICT (one) DO NOTHING

-- name: replace_authority
INSERT INTO authority (one, fingerprint) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET fingerprint = excluded.fingerprint

-- name: authority
SELECT fingerprint FROM authority WHERE one = 1
