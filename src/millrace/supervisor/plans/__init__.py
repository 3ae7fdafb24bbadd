"""How a plan's document is read."""
