"""One file per command; speaks through the client, or starts programs."""
