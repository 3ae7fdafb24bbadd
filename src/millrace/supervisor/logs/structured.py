"""Lines that are JSON."""

import msgspec

from millrace.supervisor.logs.entry import LEVELS, Level
from millrace.supervisor.logs.settings import JsonLines

Found = tuple[Level | None, str, dict[str, object]]


def read_json(text: str, rule: JsonLines) -> Found | None:
    """Level, message and the other fields of a line that is a JSON object; None for anything else.

    Without a message the whole line is it, as an empty text here.
    """
    if not text.startswith("{"):
        return None
    try:
        document = msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    message = document.pop(rule.message, "")
    level = level_of(document.pop(rule.level, None))
    return level, message if isinstance(message, str) else msgspec.json.encode(message).decode(), document


def level_of(value: object) -> Level | None:
    """A level as a word, or as a number from 10 to 60 as pino and bunyan write it."""
    if isinstance(value, str):
        return LEVELS.get(value.lower())
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    steps = ((50, Level.ERROR), (40, Level.WARN), (30, Level.INFO))
    return next((level for least, level in steps if value >= least), Level.DEBUG)
