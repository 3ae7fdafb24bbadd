"""Ask a process whether it is well. Each question ends in time and leaves nothing behind."""

import asyncio
import http.client
from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import structs

from millrace.process.capture import capture
from millrace.process.values import CannotStart, Spec
from millrace.runtime.clock import Clock
from millrace.supervisor.plan import HealthCheck, ProbeKind


async def ask(check: HealthCheck, *, spec: Callable[[], Spec], clock: Clock) -> str | None:
    """None where the process is well, else what is wrong, as a phrase. A command is asked as `spec` says, also its user."""
    try:
        if check.kind is ProbeKind.EXEC:
            return await _exec(check, spec(), clock)
        question = _tcp(check) if check.kind is ProbeKind.TCP else asyncio.to_thread(_http, check)
        return await clock.wait_for(question, check.timeout_s)
    except TimeoutError:
        return f"no answer within {check.timeout_s:g} s"
    except (OSError, http.client.HTTPException, CannotStart) as error:
        return str(error) or type(error).__name__


async def _tcp(check: HealthCheck) -> None:
    parts = urlsplit(f"tcp://{check.target}")
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.close()


def _http(check: HealthCheck) -> str | None:
    parts = urlsplit(check.target)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=check.timeout_s)
    try:
        target = parts.path or "/"
        connection.request("GET", f"{target}?{parts.query}" if parts.query else target)
        status = connection.getresponse().status
    finally:
        connection.close()
    return None if status == check.expected_status else f"answered {status}, not {check.expected_status}"


async def _exec(check: HealthCheck, spec: Spec, clock: Clock) -> str | None:
    done = await capture(
        structs.replace(spec, argv=check.command), clock=clock, timeout_s=check.timeout_s, grace_s=0.0, max_chars=4096
    )
    if done.timed_out:
        return f"no answer within {check.timeout_s:g} s"
    if done.exit.ok:
        return None
    said = (done.stderr or done.stdout).strip().splitlines()
    return f"{done.exit}" + (f": {said[-1][:200]}" if said else "")
