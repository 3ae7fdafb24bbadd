-- Jobs whose lead task (position 1) was split into parts, which several workers make.

-- `split`: in a lead that was split, the attempt that did so; in a part, that attempt of its lead. `own_class`: the class of the
-- lead before, which it gets back when the job is retried.
ALTER TABLE tasks ADD COLUMN split integer, ADD COLUMN own_class integer;

-- What is not the state of a job: these two serve lists and counts.
CREATE INDEX tasks_parts ON tasks (state) WHERE position > 1;
CREATE INDEX tasks_split ON tasks (job) WHERE position = 1 AND split IS NOT NULL AND state IN ('pending', 'queued', 'assigned');

-- What each task of a split job makes. `plan` stands in the row of the lead until the job has ended and its pieces are deleted.
CREATE TABLE parts (
  job bigint NOT NULL,
  position integer NOT NULL,
  kind text NOT NULL,
  number integer NOT NULL,
  frames bigint NOT NULL,
  plan text,
  PRIMARY KEY (job, position)
);

CREATE INDEX parts_kept ON parts (job) WHERE plan IS NOT NULL;

CREATE OR REPLACE FUNCTION is_sound_attempt(ended_at bigint, outcome text, failure_class text, failure_message text)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$ BEGIN RETURN
  (outcome IS NULL OR outcome IN ('completed', 'failed', 'canceled', 'handed_back', 'lost', 'split'))
  AND ((ended_at IS NULL) = (outcome IS NULL))
  AND ((failure_class IS NULL) = (failure_message IS NULL))
; END $$;

CREATE OR REPLACE FUNCTION is_legal_transition(source text, target text)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$ BEGIN RETURN
  (source IS NULL AND target IN ('pending', 'queued'))
  OR (source = 'pending' AND target IN ('queued', 'paused', 'failed', 'canceled', 'rejected'))
  OR (source = 'queued' AND target IN ('assigned', 'paused', 'canceled', 'rejected'))
  OR (source = 'assigned' AND target IN ('queued', 'processing', 'paused', 'retrying', 'completed', 'failed', 'canceled', 'pending'))
  OR (source = 'processing' AND target IN ('queued', 'paused', 'retrying', 'completed', 'failed', 'canceled', 'pending'))
  OR (source = 'paused' AND target IN ('pending', 'queued', 'assigned', 'processing', 'paused', 'retrying', 'completed', 'failed', 'canceled'))
  OR (source = 'retrying' AND target IN ('queued', 'paused', 'failed', 'canceled'))
  OR (source = 'failed' AND target IN ('queued'))
  OR (source = 'canceled' AND target IN ('queued'))
  OR (source = 'rejected' AND target IN ('queued'))
; END $$;
