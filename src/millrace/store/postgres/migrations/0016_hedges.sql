-- Parts that two workers make, because the first is slow.

-- Of a hedge: the position of the task that makes the same part.
ALTER TABLE tasks ADD COLUMN hedges integer;
