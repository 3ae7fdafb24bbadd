"""Log events and metrics; knows nothing of who calls it."""
