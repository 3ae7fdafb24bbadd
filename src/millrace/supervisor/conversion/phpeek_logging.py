"""What PHPeek PM says under `logging`: the same words, other defaults, and patterns of Go."""

from collections.abc import Mapping
from typing import Any

from millrace.supervisor.conversion.converted import Conversion, as_text, keeping_references, literal
from millrace.supervisor.conversion.go_patterns import pattern_of, replacement_of

_LEVELS = ("error", "warn", "info", "debug")


def logging_of(found: Conversion, where: str, said: Mapping[Any, Any]) -> dict[str, Any]:
    """The section `logging` of a plan."""
    done: dict[str, Any] = {}
    for key, value in said.items():
        at = f"{where}.logging.{key}"
        if key in ("stdout", "stderr"):
            if value is False:
                found.left_out(at, "did nothing there; write it at the process, without logging, to drop the stream")
        elif key == "min_level":
            done["min_level"] = _level(found, at, value)
        elif key == "labels" and isinstance(value, Mapping):
            done["labels"] = {str(name): as_text(one) for name, one in value.items()}
            found.changed(at, "are part of JSON lines now; there they did nothing")
        elif key in _SECTIONS and isinstance(value, Mapping):
            # There a section is off unless it says otherwise.
            if (key == "filters" or value.get("enabled") is True) and (section := _SECTIONS[key](found, at, value)):
                done[key] = section
        elif value is not None:
            found.left_out(at, "did nothing there")
    _least_level(found, where, done)
    return done


def _least_level(found: Conversion, where: str, done: dict[str, Any]) -> None:
    """Theirs is info where nothing is said, and every line is info where nothing finds its level."""
    finds = bool({"json", "level_detection"} & set(done))
    if finds:
        done.setdefault("min_level", "info")
    elif done.get("min_level") in ("warn", "error"):
        found.changed(
            f"{where}.logging.min_level", "drops what is below it; there every line was info, so all were dropped"
        )


def _level(found: Conversion, at: str, value: Any) -> str:
    if value in _LEVELS:
        return str(value)
    found.changed(at, f"is info; there is no level {value}")
    return "info"


def _multiline(_: Conversion, __: str, said: Mapping[Any, Any]) -> dict[str, Any]:
    kept = {key: said[key] for key in ("max_lines", "timeout") if said.get(key)}  # a nought was the default
    return {"pattern": _pattern(said.get("pattern")), **kept}


def _redaction(found: Conversion, at: str, said: Mapping[Any, Any]) -> dict[str, Any]:
    patterns = []
    entries = said.get("patterns")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, Mapping):
            found.left_out(f"{at}.patterns[{index}]", "is no mapping")
            continue
        pattern = pattern_of(_raw(entry.get("pattern")))
        given = _raw(entry.get("replacement")) or "***"
        here = replacement_of(given, pattern)
        if here.replace("{", "").replace("}", "") != given.replace("{", "").replace("}", ""):
            found.changed(f"{at}.patterns[{index}].replacement", f"is {here!r}, which is what {given!r} came to there")
        one = {"pattern": keeping_references(pattern), "replacement": literal(here)}
        patterns.append({"name": as_text(entry["name"]), **one} if entry.get("name") else one)
    return {"patterns": patterns} if patterns else {}


def _json(_: Conversion, __: str, said: Mapping[Any, Any]) -> dict[str, Any]:
    kept = {key: as_text(said[key]) for key in ("extract_level", "extract_message") if said.get(key)}
    return {**kept, "merge_fields": said.get("merge_fields") is True}


def _level_detection(found: Conversion, at: str, said: Mapping[Any, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {}
    if isinstance(patterns := said.get("patterns"), Mapping):
        done["patterns"] = {str(level): _pattern(one) for level, one in patterns.items() if level in _LEVELS}
        for level in patterns:
            if level not in _LEVELS:
                found.left_out(f"{at}.patterns.{level}", f"did nothing there; allowed: {', '.join(_LEVELS)}")
    if said.get("default_level"):
        done["default_level"] = _level(found, f"{at}.default_level", said["default_level"])
    return done


def _filters(found: Conversion, at: str, said: Mapping[Any, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for key, value in said.items():
        if key in ("exclude", "include") and isinstance(value, list):
            done[str(key)] = [_pattern(one) for one in value]
        else:
            found.left_out(f"{at}.{key}", "did nothing there")
    return done


def _pattern(value: Any) -> str:
    return keeping_references(pattern_of(_raw(value)))


def _raw(value: Any) -> str:
    """A text as it stood: what it becomes is escaped for a plan afterwards."""
    return value if isinstance(value, str) else "" if value is None else as_text(value)


_SECTIONS = {
    "multiline": _multiline, "redaction": _redaction, "json": _json, "level_detection": _level_detection, "filters": _filters,
}  # fmt: skip
