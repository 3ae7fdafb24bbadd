"""Ask a process whether it is well. Each question ends in time and leaves nothing behind."""

import asyncio
import os
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import structs

from millrace.process.capture import capture
from millrace.process.values import CannotStart, CannotStop, Spec
from millrace.runtime.clock import Clock
from millrace.supervisor.health.http_probe import NoAnswer, fetch, judge
from millrace.supervisor.health.values import HealthCheck, ProbeKind

_CALL_FAILED = re.compile(r"\[Errno (\d+)\] Connect call failed \('([^']+)', (\d+)[^)]*\)")
_NUMBER = re.compile(r"^\[Errno -?\d+\] ")


async def ask(check: HealthCheck, *, spec: Callable[[], Spec], clock: Clock) -> str | None:
    """None where the process is well, else what is wrong, as a phrase. A command is asked as `spec` says, also its user."""
    try:
        if check.kind is ProbeKind.EXEC:
            return await _exec(check, spec(), clock)
        return await clock.wait_for(_http(check) if check.kind is ProbeKind.HTTP else _tcp(check), check.timeout_s)
    except TimeoutError:
        return f"no answer within {check.timeout_s:g} s"
    # ValueError: a name or an address that cannot be one, such as one that came from a variable.
    except (OSError, ValueError, NoAnswer, CannotStart, CannotStop) as error:
        return _NUMBER.sub("", _CALL_FAILED.sub(_refused, str(error))) or type(error).__name__


def _refused(found: re.Match[str]) -> str:
    """What asyncio says of an address, in the words of the system."""
    number, host, port = found.groups()
    return f"{host} port {port}: {os.strerror(int(number))}"


async def _tcp(check: HealthCheck) -> None:
    parts = urlsplit(f"tcp://{check.target}")
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    # Thrown away, not closed: a peer that reads nothing must not keep it.
    writer.transport.abort()


async def _http(check: HealthCheck) -> str | None:
    return None if check.http is None else judge(check.http, await fetch(check.http))


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
