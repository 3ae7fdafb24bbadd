"""PHPeek PM's YAML. What its own program never heeded is left out, and what it silently took otherwise is said."""

from collections.abc import Mapping
from typing import Any

from millrace.supervisor.conversion.converted import Conversion, as_text, keeping_references, knows
from millrace.supervisor.conversion.phpeek_logging import logging_of
from millrace.supervisor.conversion.phpeek_schedule import hook_of, hooks_of, schedule_of
from millrace.supervisor.plan_document import SIGNALS, keys
from millrace.supervisor.yaml_text import foreign

_DEAD_GLOBALS = ("health_check_interval", "log_timestamps", "process_start_timeout")
_OF_SCHEDULES = ("heartbeat", "schedule_max_concurrent", "schedule_timezone", "schedule_timeout")
_ELSEWHERE = {
    "api_socket": "is the option --socket of millrace supervise",
    "api_port": "is the option --listen of millrace supervise; a unix socket is there without it",
    "api_auth": "is the variable MILLRACE_SUPERVISE_KEY",
    "api_tls": "are the options --tls-cert and --tls-key of millrace supervise",
    "metrics_port": "is gone: /metrics is part of the control API",
    "metrics_path": "is gone: /metrics is part of the control API",
    "autotune_memory_threshold": "belongs to each pool: tune, with memory_share",
    "schedule_history_size": "is gone: the last 100 runs are remembered",
}
"""Where to say it now."""
_WITHOUT = ("api_enabled", "metrics_enabled", "resource_metrics_enabled")
"""What needs no word: it is there."""
_THEIR_SIGNALS = ("TERM", "QUIT", "INT", "KILL")
_CHECK_KEYS = (
    "type", "address", "url", "command", "mode", "initial_delay", "period", "timeout", "success_threshold", "failure_threshold",
    "expected_status",
)  # fmt: skip
_INITIAL_DELAY_S, _STOP_S, _STARTS, _BACKOFF_S, _BACKOFF_FACTOR = 5, 30, 3, 5, 12
"""Their defaults, where ours differ."""


def convert(text: str) -> Conversion:
    """The plan of a PHPeek PM configuration.

    Raises:
        ValueError: it is no YAML, or holds no processes.
    """
    document = foreign(text)
    if not isinstance(document, Mapping) or not isinstance(document.get("processes"), Mapping):
        raise ValueError("it holds no mapping `processes`")  # noqa: TRY004  it is the text that is wrong
    found = Conversion()
    settings = document.get("global")
    _globals(found, settings if isinstance(settings, Mapping) else {})
    for other, entry in document["processes"].items():
        if isinstance(entry, Mapping):
            _process(found, str(other), entry)
    _dependencies(found)
    found.give_time_to_stop()
    if not any(process.get("enabled", True) for process in found.processes.values()):
        found.changed("processes", "holds no enabled process: there a process is off unless it says otherwise")
    for key in document:
        if key in ("version", "global", "processes"):
            continue
        if key == "hooks" and isinstance(document[key], Mapping):
            found.others["hooks"] = hooks_of(found, "hooks", document[key])
            continue
        _as_it_is(found, (str(key),), document[key], found.others)
    return found


def _globals(found: Conversion, settings: Mapping[Any, Any]) -> None:
    said = {"log_format": "json", **settings}
    backoff = said.pop("restart_backoff", _BACKOFF_S) or _BACKOFF_S
    attempts = said.pop("max_restart_attempts", _STARTS) or _STARTS
    whole = {
        "restart_backoff_initial": _BACKOFF_S,
        "restart_backoff_max": backoff * _BACKOFF_FACTOR if isinstance(backoff, int) else backoff,
        "max_restart_attempts": max(attempts, 0) if isinstance(attempts, int) else attempts,
    }
    whole["restart_backoff_initial"] = backoff
    found.settings |= whole
    found.changed(
        "global.max_restart_attempts", "counts restarts without a stable run between them, not all there ever were"
    )
    for key, value in said.items():
        if key in _DEAD_GLOBALS:
            found.left_out(f"global.{key}", "did nothing there")
        elif key in _ELSEWHERE and value:
            found.left_out(f"global.{key}", _ELSEWHERE[key])
        elif key == "readiness" and isinstance(value, Mapping):
            found.settings["readiness"] = _readiness(found, value)
        elif key in _WITHOUT and value is not False:
            continue
        elif value is not None:
            _as_it_is(found, ("global", str(key)), value, found.settings)


def _process(found: Conversion, other: str, entry: Mapping[Any, Any]) -> None:
    name = found.name(other)
    where = f"processes.{name}"
    said = {str(key): value for key, value in entry.items() if value is not None}
    process: dict[str, Any] = {"command": _words(said.pop("command", []))}
    found.processes[name] = process
    _enabled(found, where, said, process)
    if said.get("schedule"):
        schedule_of(found, where, said, process)
    _kind(found, where, said, process)
    if isinstance(check := said.pop("health_check", None), Mapping):
        process["health_check"] = _health_check(found, where, check)
    stop = said.pop("shutdown", {})
    stop = stop if isinstance(stop, Mapping) else {}
    process["shutdown"] = _shutdown(found, where, stop)
    if isinstance(hook := stop.get("pre_stop_hook"), Mapping):
        process["hooks"] = {"pre-stop": [hook_of(found, f"{where}.shutdown.pre_stop_hook", hook)]}
    if isinstance(depends_on := said.pop("depends_on", None), list):
        process["depends_on"] = {found.name(as_text(one)): "ready" for one in depends_on}
    if isinstance(env := said.pop("env", None), Mapping):
        process["env"] = {str(key): as_text(value) for key, value in env.items()}
    if isinstance(logging := said.pop("logging", None), Mapping) and (kept := logging_of(found, where, logging)):
        process["logging"] = kept
    for key, value in said.items():
        if key in _OF_SCHEDULES:
            found.left_out(f"{where}.{key}", "did nothing there, without a schedule")
        else:
            _as_it_is(found, ("processes", name, key), value, process)
    _user(found, where, process)


def _user(found: Conversion, where: str, process: dict[str, Any]) -> None:
    for key in ("user", "group"):
        if process.get(key) in ("", None):
            process.pop(key, None)
        else:
            process[key] = as_text(process[key])
    if process.get("user", "0") not in ("0", "root"):
        numbered = process["user"].isdecimal() and "group" not in process
        more = "; where nobody is known by this number, name a group, too" if numbered else ""
        found.changed(f"{where}.user", f"has to be there, or it does not start; there it ran as root then{more}")


def _readiness(found: Conversion, said: Mapping[Any, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {"path": as_text(said.get("path") or "/tmp/phpeek-ready")}  # noqa: S108  their default
    if said.get("enabled") is not True:
        done["enabled"] = False
    if said.get("mode") in ("all_healthy", "all_running"):
        done["mode"] = said["mode"]
    if said.get("content"):
        done["content"] = as_text(said["content"])
    if isinstance(names := said.get("processes"), list) and names:
        done["processes"] = [found.name(as_text(one)) for one in names]
    if "enabled" not in done:
        found.changed("global.readiness", "is kept; there the file was never written")
    return done


def _enabled(found: Conversion, where: str, said: dict[str, Any], process: dict[str, Any]) -> None:
    if "enabled" not in said:
        found.changed(f"{where}.enabled", "is false, as it was there without saying so")
    if said.pop("enabled", False) is not True:
        process["enabled"] = False


def _kind(found: Conversion, where: str, said: dict[str, Any], process: dict[str, Any]) -> None:
    """How often it runs; takes what it reads out of `said`."""
    if said.pop("type", "longrun") == "oneshot":
        process["type"] = "oneshot"
        if said.pop("restart", "never") != "never":
            found.changed(f"{where}.restart", "is never: there a oneshot was not started again, whatever it said")
    for key in ("scale", "max_scale"):  # a nought was the default
        if said.get(key) == 0:
            del said[key]


def _health_check(found: Conversion, where: str, check: Mapping[Any, Any]) -> dict[str, Any]:
    delay = check.get("initial_delay") or _INITIAL_DELAY_S
    done: dict[str, Any] = {}
    for key, value in check.items():
        if key not in _CHECK_KEYS:
            found.left_out(f"{where}.health_check.{key}", "did nothing there")
        elif value not in (None, 0, ""):  # a nought was the default
            done[str(key)] = _copied(value)
    kind = done.get("type")
    for key, only in (("address", "tcp"), ("url", "http"), ("expected_status", "http"), ("command", "exec")):
        if key in done and kind != only:
            found.left_out(f"{where}.health_check.{key}", f"means nothing to a check of type {kind}")
            del done[key]
    if done.get("mode", "both") not in ("both", "readiness", "liveness"):
        found.changed(f"{where}.health_check.mode", f"is both; it was {done.pop('mode')}")
    return done | {"initial_delay": delay}


def _shutdown(found: Conversion, where: str, stop: Mapping[Any, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {"timeout": _copied(stop.get("timeout")) or _STOP_S}
    word = as_text(stop.get("signal") or "TERM").upper().removeprefix("SIG")
    if word not in _THEIR_SIGNALS:
        really = "it was TERM there, whatever it said" if word in SIGNALS else f"there is no {word}"
        found.changed(f"{where}.shutdown.signal", f"is TERM: {really}")
        word = "TERM"
    if word != "TERM":
        done["signal"] = word
    for key, value in stop.items():
        if key == "pre_stop_hook" and isinstance(value, Mapping):
            continue  # it becomes a hook of the process
        if key in ("kill_signal", "graceful"):
            found.left_out(f"{where}.shutdown.{key}", "did nothing there")
        elif key not in ("signal", "timeout"):
            _as_it_is(found, (*where.split("."), "shutdown", str(key)), value, done)
    return done


def _dependencies(found: Conversion) -> None:
    """A oneshot is waited for to its end, and what is off or unknown by nobody: with either nothing would start."""
    for name, process in found.processes.items():
        for other in list(process.get("depends_on", ())):
            where = f"processes.{name}.depends_on"
            there = found.processes.get(other)
            if there is None or not there.get("enabled", True):
                if process.get("enabled", True):
                    del process["depends_on"][other]
                    found.left_out(where, f"named {other}, which is {'unknown' if there is None else 'off'}")
            elif "schedule" in there:
                del process["depends_on"][other]
                found.left_out(where, f"named {other}, which runs at its times; there nothing would have started")
            elif there.get("type") == "oneshot":
                process["depends_on"][other] = "completed"
                found.changed(where, f"waits until {other} has completed; there it did not wait")
        if not process.get("depends_on", True):
            del process["depends_on"]


def _as_it_is(found: Conversion, path: tuple[str, ...], value: Any, into: dict[str, Any]) -> bool:
    """Keep what plans know by the same key; what they cannot hold of it is found when the plan is read."""
    known = knows(keys(), path) is not None
    if known:
        into[path[-1]] = _copied(value)
    else:
        found.left_out(".".join(path), "has no counterpart")
    return known


def _copied(value: Any) -> Any:
    """The value, its dollars kept as they were meant."""
    if isinstance(value, Mapping):
        return {str(key): _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(one) for one in value]
    return keeping_references(value) if isinstance(value, str) else value


def _words(value: Any) -> Any:
    return [as_text(word) for word in value] if isinstance(value, list) else value
