-- How many places a tenant has in each of its turns, and how many of its last it has taken (domain/turns.py).

ALTER TABLE tenants ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;
ALTER TABLE turns ADD COLUMN taken INTEGER NOT NULL DEFAULT 1;

CREATE INDEX tenants_weighted ON tenants (name, weight) WHERE weight > 1;
