-- Parts that two workers make, because the first is slow; and jobs that are planned anew, because nobody can make their parts.

-- Of a hedge: the position of the task that makes the same part.
ALTER TABLE tasks ADD COLUMN hedges integer;

-- What is queued may be queued again.
CREATE OR REPLACE FUNCTION is_legal_transition(source text, target text)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$ BEGIN RETURN
  (source IS NULL AND target IN ('pending', 'queued'))
  OR (source = 'pending' AND target IN ('queued', 'paused', 'failed', 'canceled', 'rejected'))
  OR (source = 'queued' AND target IN ('queued', 'assigned', 'paused', 'canceled', 'rejected'))
  OR (source = 'assigned' AND target IN ('queued', 'processing', 'paused', 'retrying', 'completed', 'failed', 'canceled', 'pending'))
  OR (source = 'processing' AND target IN ('queued', 'paused', 'retrying', 'completed', 'failed', 'canceled', 'pending'))
  OR (source = 'paused' AND target IN ('pending', 'queued', 'assigned', 'processing', 'paused', 'retrying', 'completed', 'failed', 'canceled'))
  OR (source = 'retrying' AND target IN ('queued', 'paused', 'failed', 'canceled'))
  OR (source = 'failed' AND target IN ('queued'))
  OR (source = 'canceled' AND target IN ('queued'))
  OR (source = 'rejected' AND target IN ('queued'))
; END $$;
