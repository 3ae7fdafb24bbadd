"""Pulling the plug: programs that are killed at every write, disks that lose what was not synced, and what must be there after."""
