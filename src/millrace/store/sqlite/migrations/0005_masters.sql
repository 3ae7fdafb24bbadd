-- Masters that live, and the term of the one that leads. Times are integer milliseconds since 1970 in UTC.

CREATE TABLE masters (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leader (
  only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
  epoch INTEGER NOT NULL,
  master_id TEXT NOT NULL,
  until INTEGER NOT NULL
) STRICT;

INSERT INTO leader VALUES (1, 0, '', 0);
