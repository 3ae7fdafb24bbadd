-- The audit trail: entries in sealed blocks (domain/chain.py). Times are integer milliseconds since 1970 in UTC.

CREATE TABLE audit_blocks (
  number bigint PRIMARY KEY,
  at bigint NOT NULL,
  id bytea NOT NULL UNIQUE,
  body bytea NOT NULL,
  before bytea NOT NULL,
  seal bytea NOT NULL
);

-- Whoever adds a block locks the one row, so that masters write one after the other.
CREATE TABLE audit_head (
  only_one integer PRIMARY KEY CHECK (only_one = 1),
  number bigint NOT NULL,
  seal bytea NOT NULL,
  oldest bigint NOT NULL
);

INSERT INTO audit_head VALUES (1, 0, decode(repeat('00', 32), 'hex'), 1);
