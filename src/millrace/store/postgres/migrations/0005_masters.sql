-- Masters that live, and the term of the one that leads. Times are integer milliseconds since 1970 in UTC.

CREATE TABLE masters (
  id text PRIMARY KEY,
  name text NOT NULL,
  version text NOT NULL,
  started_at bigint NOT NULL,
  seen_at bigint NOT NULL
);

CREATE TABLE leader (
  only_one integer PRIMARY KEY CHECK (only_one = 1),
  epoch bigint NOT NULL,
  master_id text NOT NULL,
  until bigint NOT NULL
);

INSERT INTO leader VALUES (1, 0, '', 0);
