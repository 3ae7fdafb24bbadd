"""How the output of a process is treated. Frozen values; times are seconds."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct, field

from millrace.supervisor.logs.entry import Level


class LogForm(StrEnum):
    """How entries are written."""

    TEXT = "text"  # after the name of the instance
    JSON = "json"
    PLAIN = "plain"  # just what the process printed


class Multiline(Struct, frozen=True, kw_only=True):
    """Lines belong to the entry that a line matching `start` began, up to `max_lines`, or `timeout_s` without more."""

    start: re.Pattern[str]
    max_lines: int = 100
    timeout_s: float = 1.0


class Rule(Struct, frozen=True, kw_only=True):
    """What `pattern` matches is replaced by `replacement`, in the form of `re.sub`."""

    pattern: re.Pattern[str]
    replacement: str


class Redaction(Struct, frozen=True, kw_only=True):
    """Own rules first, in order; then, unless `known_shapes` is false, the shapes of secrets that are known."""

    rules: tuple[Rule, ...] = ()
    known_shapes: bool = True


class JsonLines(Struct, frozen=True, kw_only=True):
    """Lines that are JSON objects give level and message by these keys, and their other fields where those are kept."""

    level: str = "level"
    message: str = "message"
    keep_fields: bool = True


class Detection(Struct, frozen=True, kw_only=True):
    """How the level of plain text is found: own patterns, the gravest first; the usual words; the default."""

    enabled: bool = True
    patterns: tuple[tuple[Level, re.Pattern[str]], ...] = ()
    default: Level = Level.INFO


class Filters(Struct, frozen=True, kw_only=True):
    """What is kept: nothing below `min_level`, nothing that `exclude` matches, and only what `include` matches, if any."""

    min_level: Level = Level.DEBUG
    exclude: tuple[re.Pattern[str], ...] = ()
    include: tuple[re.Pattern[str], ...] = ()


class LogFile(Struct, frozen=True, kw_only=True):
    """A file that begins anew before it grows over `max_bytes` or older than `max_age_s` (0: never); `keep` old ones stay."""

    path: Path
    max_bytes: int = 64 * 1024 * 1024
    max_age_s: float = 0.0
    keep: int = 5


class Logging(Struct, frozen=True, kw_only=True):
    """The output of one process. `buffer` entries of each stream and instance are kept in memory."""

    stdout: bool = True
    stderr: bool = True
    buffer: int = 1000
    labels: Mapping[str, str] = field(default_factory=dict)
    multiline: Multiline | None = None
    redaction: Redaction = field(default_factory=Redaction)
    json: JsonLines | None = None
    detection: Detection = field(default_factory=Detection)
    filters: Filters = field(default_factory=Filters)
    file: LogFile | None = None
