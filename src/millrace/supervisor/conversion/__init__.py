"""Plans from what other process managers read."""
