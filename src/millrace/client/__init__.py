"""Typed HTTP client of the masters: fail-over, safe repeats, uploads, downloads and the event stream.

One core without I/O (`calls`, `failover`, `replies`, `sse`, `http1`) and two thin transports: `Client` on `connections` for
commands and for the worker's heartbeat thread, `AsyncClient` on `async_connections` for the worker, whose waits must be
cancellable. They speak what masters speak and nothing else, because a library that speaks all of HTTP takes longer to import
than all of ours (docs/decisions/0001-libraries.md).
"""
