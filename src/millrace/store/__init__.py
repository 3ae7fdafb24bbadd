"""Keeping and atomically changing records; one folder per database, all SQL in named blocks."""
