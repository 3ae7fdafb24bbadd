"""Run one child well: spawn, own group, limits, output pump, stop escalation, exact exit codes."""
