"""The farm as real processes, with real faults. What it is and what it finds: docs/reliability.md and docs/decisions/0033."""
