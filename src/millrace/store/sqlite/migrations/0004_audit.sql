-- The audit trail: entries in sealed blocks (domain/chain.py). Times are integer milliseconds since 1970 in UTC.

CREATE TABLE audit_blocks (
  number INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  id BLOB NOT NULL UNIQUE,
  body BLOB NOT NULL,
  before BLOB NOT NULL,
  seal BLOB NOT NULL
) STRICT;

CREATE TABLE audit_head (
  only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
  number INTEGER NOT NULL,
  seal BLOB NOT NULL,
  oldest INTEGER NOT NULL
) STRICT;

INSERT INTO audit_head VALUES (1, 0, zeroblob(32), 1);
