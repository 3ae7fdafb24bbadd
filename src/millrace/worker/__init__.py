"""What a machine of the farm does: claim, fetch, run, verify, deliver, report; heartbeat; drain."""
