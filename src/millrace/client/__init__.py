"""Typed HTTP client of the masters: fail-over, safe repeats, uploads, downloads and the event stream.

One core without I/O (`calls`, `failover`, `replies`, `sse`) and two thin transports: `Client` for commands and for the
worker's heartbeat thread, `AsyncClient` for the worker, whose waits must be cancellable. httpx2 is imported when the first
transport is made, because commands that need no master must start fast.
"""
