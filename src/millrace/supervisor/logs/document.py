"""The `logging:` section of a process, and its shorthands `stdout:` and `stderr:`."""

import re
from pathlib import Path

from millrace.domain.document import shown
from millrace.supervisor.logs.entry import Level
from millrace.supervisor.logs.settings import (
    Detection,
    Filters,
    JsonLines,
    LogFile,
    Logging,
    Multiline,
    Redaction,
    Rule,
)
from millrace.supervisor.plans.reader import Reader

_GROUP = re.compile(r"\$(?:\$|(\d+)|\{(\w+)\})")
_FAR_S = 366 * 86_400.0
_GRAVEST_FIRST = tuple(reversed(Level))


def read_logging(process: Reader) -> Logging:
    """How the output of a process is treated; what is wrong goes to the reader's findings."""
    reader = _inner(process, "logging")
    found = Logging(
        stdout=_stream(process, reader, "stdout"),
        stderr=_stream(process, reader, "stderr"),
        buffer=reader.whole("buffer", 1, 100_000, 1000),
        labels=_labels(reader),
        multiline=_multiline(reader),
        redaction=_redaction(reader),
        json=_json(reader),
        detection=_detection(reader),
        filters=_filters(reader),
        file=_file(reader),
    )
    reader.done()
    return found


def _inner(reader: Reader, key: str) -> Reader:
    return type(reader)(reader.mapping(key), reader.at(key), reader.findings)


def _stream(process: Reader, reader: Reader, key: str) -> bool:
    """The shorthand at the process, unless the section itself says something."""
    usual = process.flag(key, True)
    return reader.flag(key, usual)


def _labels(reader: Reader) -> dict[str, str]:
    found = {}
    inner = _inner(reader, "labels")
    for name, value in inner.document.items():
        inner.note(name, type="string")
        if isinstance(value, str):
            found[name] = value
        else:
            inner.report(name, f"must be a text, not {shown(value)}")
    return found


def _multiline(reader: Reader) -> Multiline | None:
    if not reader.has("multiline"):
        return None
    inner = _inner(reader, "multiline")
    enabled = inner.flag("enabled", True)
    start = _pattern(inner, "pattern", inner.raw("pattern"))
    max_lines = inner.whole("max_lines", 1, 10_000, 100)
    timeout_s = inner.duration("timeout", 1.0, 0.01, 3600.0)
    inner.done()
    if not enabled or start is None:
        return None
    return Multiline(start=start, max_lines=max_lines, timeout_s=timeout_s)


def _redaction(reader: Reader) -> Redaction:
    inner = _inner(reader, "redaction")
    enabled = inner.flag("enabled", True)
    entries = inner.raw("patterns", [])
    if not isinstance(entries, list):
        inner.report("patterns", f"must be a list, each with a pattern and a replacement, not {shown(entries)}")
        entries = []
    rules = []
    for index, entry in enumerate(entries):
        one = type(inner)(entry, inner.at(f"patterns[{index}]"), inner.findings)
        one.text("name", "")
        pattern = _pattern(one, "pattern", one.raw("pattern"))
        replacement = _replacement(one, one.text("replacement", "***"), pattern)
        one.done()
        if pattern is not None:
            rules.append(Rule(pattern=pattern, replacement=replacement))
    known_shapes = inner.flag("known_shapes", True)
    inner.done()
    # Who turns own patterns off must not show secrets by that: the known shapes have a word of their own.
    return Redaction(rules=tuple(rules) if enabled else (), known_shapes=known_shapes)


def _replacement(reader: Reader, text: str, pattern: re.Pattern[str] | None) -> str:
    r"""`$1`, `${1}` and `${name}` stand for groups, `$$` for a dollar; everything else for itself."""
    parts, end = [], 0
    for found in _GROUP.finditer(text):
        group = found[1] or found[2]
        parts.append(text[end : found.start()].replace("\\", r"\\"))
        parts.append("$" if group is None else rf"\g<{group}>")
        end = found.end()
        known = pattern is None or group is None or group in pattern.groupindex
        if not known and not (group.isdecimal() and pattern is not None and int(group) <= pattern.groups):
            reader.report(
                "replacement", f"names the group {group}, and the pattern has none; allowed: $1, ${{name}}, $$"
            )
            return "***"
    return "".join(parts) + text[end:].replace("\\", r"\\")


def _json(reader: Reader) -> JsonLines | None:
    reader.note("json", type="boolean")
    value = reader.raw("json", False)
    if isinstance(value, bool):
        return JsonLines() if value else None
    inner = _inner(reader, "json")
    found = JsonLines(
        level=inner.text("extract_level", "level"),
        message=inner.text("extract_message", "message"),
        keep_fields=inner.flag("merge_fields", True),
    )
    enabled = inner.flag("enabled", True)
    inner.done()
    return found if enabled else None


def _detection(reader: Reader) -> Detection:
    inner = _inner(reader, "level_detection")
    own = _inner(inner, "patterns")
    named = [(level, _pattern(own, level, own.raw(level))) for level in _GRAVEST_FIRST if own.has(level)]
    patterns = [(level, pattern) for level, pattern in named if pattern is not None]
    own.done()
    found = Detection(
        enabled=inner.flag("enabled", True),
        patterns=tuple(patterns),
        default=Level(inner.word("default_level", Level, Level.INFO)),
    )
    inner.done()
    return found


def _filters(reader: Reader) -> Filters:
    inner = _inner(reader, "filters")
    found = Filters(
        min_level=Level(reader.word("min_level", Level, Level.DEBUG)),
        exclude=_patterns(inner, "exclude"),
        include=_patterns(inner, "include"),
    )
    inner.done()
    return found


def _patterns(reader: Reader, key: str) -> tuple[re.Pattern[str], ...]:
    found = (_pattern(reader, f"{key}[{index}]", text) for index, text in enumerate(reader.words(key)))
    return tuple(pattern for pattern in found if pattern is not None)


def _pattern(reader: Reader, key: str, value: object) -> re.Pattern[str] | None:
    if not isinstance(value, str) or not value:
        reader.report(key, f"must be a regular expression, not {shown(value)}")
        return None
    try:
        return re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        reader.report(key, f"is no regular expression: {error}")
        return None


def _file(reader: Reader) -> LogFile | None:
    if not reader.has("file"):
        return None
    inner = _inner(reader, "file")
    path = inner.text("path", "", 4096)
    if not path or "\0" in path:
        inner.report("path", "is missing; name the file to write to")
    found = LogFile(
        path=Path(path or "."),
        max_bytes=inner.whole("max_bytes", 4096, 1 << 50, 64 * 1024 * 1024),
        max_age_s=inner.duration("max_age", 0.0, 0.0, _FAR_S),
        keep=inner.whole("keep", 0, 1000, 5),
    )
    inner.done()
    return found
