-- The audit trail. Every block is read with the columns of rows.block, in that order.

-- name: audit_head
SELECT number, seal, oldest FROM audit_head

-- name: lock_audit_head
SELECT number, seal, oldest FROM audit_head

-- name: has_audit_block
SELECT 1 FROM audit_blocks WHERE id = ?1

-- name: add_audit_block
INSERT INTO audit_blocks (number, at, id, body, before, seal) VALUES (?1, ?2, ?3, ?4, ?5, ?6)

-- name: move_audit_head
UPDATE audit_head SET number = ?1, seal = ?2

-- name: audit_blocks_after
SELECT number, at, id, body, before, seal FROM audit_blocks WHERE number > ?1 ORDER BY number LIMIT ?2

-- name: audit_blocks_before
SELECT number, at, id, body, before, seal FROM audit_blocks WHERE number < ?1 ORDER BY number DESC LIMIT ?2

-- name: audit_times
SELECT number, at FROM audit_blocks WHERE number >= ?1 ORDER BY number LIMIT ?2

-- name: forget_audit_blocks
DELETE FROM audit_blocks WHERE number < ?1

-- name: move_audit_oldest
UPDATE audit_head SET oldest = ?1
