-- How many places a tenant has in each of its turns, and how many of its last it has taken (domain/turns.py).

ALTER TABLE tenants ADD COLUMN weight integer NOT NULL DEFAULT 1;
ALTER TABLE turns ADD COLUMN taken integer NOT NULL DEFAULT 1;
