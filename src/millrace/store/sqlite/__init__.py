"""The embedded store: SQLite through apsw, one writer thread with group commit, readers beside it."""
