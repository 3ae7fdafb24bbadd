-- Jobs that begin while their upload still arrives.

-- An upload that some job began before it was all there: its bytes, and how many have arrived as far as is known.
CREATE TABLE arriving (
  upload TEXT PRIMARY KEY,
  size INTEGER NOT NULL,
  arrived INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A pending task waits until so many bytes of it have arrived; only while it is in this attempt. Of a lead, `reason` says why for so many.
CREATE TABLE input_waits (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  upload TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX input_waits_by_upload ON input_waits (upload, bytes);
