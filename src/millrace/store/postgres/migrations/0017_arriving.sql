-- Jobs that begin while their upload still arrives.

-- An upload that some job began before it was all there: its bytes, and how many have arrived as far as is known.
CREATE TABLE arriving (
  upload text COLLATE "C" PRIMARY KEY,
  size bigint NOT NULL,
  arrived bigint NOT NULL
);

-- A pending task waits until so many bytes of it have arrived; only while it is in this attempt. Of a lead, `reason` says why for so many.
CREATE TABLE input_waits (
  job bigint NOT NULL,
  position integer NOT NULL,
  attempt integer NOT NULL,
  upload text COLLATE "C" NOT NULL,
  bytes bigint NOT NULL,
  reason text NOT NULL,
  PRIMARY KEY (job, position)
);

CREATE INDEX input_waits_by_upload ON input_waits (upload, bytes);
