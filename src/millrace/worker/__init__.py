"""Claim, fetch, run, verify, deliver, report; heartbeat; drain."""
