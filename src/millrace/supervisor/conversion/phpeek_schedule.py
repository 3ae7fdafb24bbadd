"""What PHPeek PM says of schedules and hooks, and what its program made of it."""

import re
from collections.abc import Mapping
from typing import Any

from millrace.supervisor.conversion.converted import Conversion, as_text

_MOMENTS = ("pre-start", "post-start", "pre-stop", "post-stop")
_HOOK_KEYS = ("name", "command", "timeout", "retry", "retry_delay", "continue_on_error", "env", "working_dir")
_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)\Z")
_NO_USE = {"type": "", "restart": "", "scale": "", "max_scale": "", "health_check": ""}
"""Keys that say nothing of a process with a schedule; there they did nothing."""


def schedule_of(found: Conversion, where: str, said: dict[str, Any], process: dict[str, Any]) -> None:
    """Move what a scheduled process says into a plan's process; takes what it reads out of `said`."""
    expression = as_text(said.pop("schedule"))
    zone = said.pop("schedule_timezone", None)
    if match := _ZONE.match(expression):
        zone, expression = match[1], match[2]
    process["schedule"] = " ".join("*" if field == "?" else field for field in expression.split())
    _zone(found, where, zone, process)
    if timeout := said.pop("schedule_timeout", None):
        process["schedule_timeout"] = as_text(timeout)
    _overlap(found, where, said.pop("schedule_max_concurrent", None), process)
    if isinstance(heartbeat := said.pop("heartbeat", None), Mapping):
        _heartbeat(found, where, heartbeat, process)
    for key in _NO_USE:
        if said.pop(key, None) not in (None, "longrun", "never", 1):
            found.left_out(f"{where}.{key}", "says nothing of a process that has a schedule")
    if said.get("user") or said.get("group"):
        found.changed(f"{where}.user", "is heeded now; there runs of a schedule were root's, whatever it said")


def _zone(found: Conversion, where: str, zone: Any, process: dict[str, Any]) -> None:
    at = f"{where}.schedule_timezone"
    if zone is None or zone == "UTC":
        found.changed(at, "is UTC, as it says; there all times were those of the container's own zone")
    elif zone == "Local":
        found.changed(at, "is UTC; it was Local, so name your zone, such as Europe/Berlin, where that is another")
    else:
        process["schedule_timezone"] = as_text(zone)
        found.changed(at, "is heeded now; there all times were those of the container's own zone")


def _overlap(found: Conversion, where: str, most: Any, process: dict[str, Any]) -> None:
    """There runs waited for each other, whatever was said; what was said is kept, and else they wait."""
    if most is None:
        process["overlap"] = "queue"
        return
    process["schedule_max_concurrent"] = most
    found.changed(f"{where}.schedule_max_concurrent", "is heeded now; there runs waited for each other")


def _heartbeat(found: Conversion, where: str, said: Mapping[Any, Any], process: dict[str, Any]) -> None:
    done: dict[str, Any] = {}
    for key, value in said.items():
        if key in ("success_url", "failure_url", "start_url", "method") and value:
            done[str(key)] = as_text(value)
        elif key in ("timeout", "retry_delay") and value:
            done[str(key)] = value
        elif key == "retry_count" and isinstance(value, int) and value > 0:
            done["retries"] = value - 1  # theirs counts the first one, too
        elif key != "enabled" and value:
            found.left_out(f"{where}.heartbeat.{key}", "has no counterpart")
    if any(key.endswith("_url") for key in done):
        process["heartbeat"] = done
        found.changed(f"{where}.heartbeat", "is sent; it did nothing there")
    else:
        found.left_out(f"{where}.heartbeat", "names no URL, and did nothing there")


def hooks_of(found: Conversion, where: str, said: Mapping[Any, Any]) -> dict[str, Any]:
    """The hooks of the whole."""
    done = {}
    for moment, hooks in said.items():
        at = f"{where}.{moment}"
        if moment not in _MOMENTS:
            found.left_out(at, f"did nothing there; allowed: {', '.join(_MOMENTS)}")
        elif isinstance(hooks, list):
            done[str(moment)] = [
                hook_of(found, f"{at}[{index}]", one) for index, one in enumerate(hooks) if isinstance(one, Mapping)
            ]
    return done


def hook_of(found: Conversion, at: str, said: Mapping[Any, Any]) -> dict[str, Any]:
    """One hook; a nought was the default."""
    done: dict[str, Any] = {}
    for key, value in said.items():
        if key not in _HOOK_KEYS:
            found.left_out(f"{at}.{key}", "did nothing there")
        elif key == "command":
            done["command"] = [as_text(word) for word in value] if isinstance(value, list) else value
        elif key == "env" and isinstance(value, Mapping):
            done["env"] = {str(name): as_text(one) for name, one in value.items()}
        elif key in ("name", "working_dir") and value:
            done[str(key)] = as_text(value)
        elif value not in (None, 0, "", {}):
            done[str(key)] = value
    return done
