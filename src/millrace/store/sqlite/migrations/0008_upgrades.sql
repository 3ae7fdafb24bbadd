-- The newest migration that each master knows, for one that takes away what others need. Masters of before say 0.

ALTER TABLE masters ADD COLUMN knows INTEGER NOT NULL DEFAULT 0;
