"""One thing that a process said."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from millrace.process.values import Stream


class Level(StrEnum):
    """How serious it is."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


RANK: Mapping[Level, int] = {level: rank for rank, level in enumerate(Level)}

_WORDS: tuple[tuple[Level, str], ...] = (
    (Level.ERROR, "emerg emergency alert crit critical fatal panic severe error err"),
    (Level.WARN, "warn warning"),
    (Level.INFO, "notice info information informational"),
    (Level.DEBUG, "debug trace verbose"),
)
LEVELS: Mapping[str, Level] = {word: level for level, words in _WORDS for word in words.split()}
"""The words that programs use, in lower case."""


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """What a process said in one line, or in several that belong together; secrets are already out of it.

    `number` counts all entries of the supervisor, from 1. `fields` are what a JSON line held besides level and message.
    """

    number: int
    time: datetime
    level: Level
    process: str
    instance: str
    stream: Stream
    message: str
    fields: Mapping[str, object] | None = None
