"""Reads what only plans hold, and notes what it was asked for, so that the keys of a plan are written down in one place."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from millrace.domain.document import DocumentReader, kind_of, shown

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?\Z")
DURATION_PATTERN = r"^(\d+h)?(\d+m)?(\d+(\.\d+)?s)?(\d+ms)?$"
_DAY_S = 86_400.0
NUL = "holds a NUL character, which no argument and no variable can; take it out"


class Noted(list[tuple[str, str]]):
    """Findings that also remember every key that was looked up, with the JSON Schema of what may stand there."""

    def __init__(self) -> None:
        """Begin with nothing found and nothing asked for."""
        super().__init__()
        self.asked: dict[str, list[dict[str, Any]]] = {}

    def note(self, path: str, schema: dict[str, Any]) -> None:
        """Remember one reading; a whole number was a number first, which says less."""
        found = self.asked.setdefault(path, [])
        wider = schema.get("type") == "number" and any(one.get("type") == "integer" for one in found)
        if schema and schema not in found and not wider:
            found.append(schema)


class Reader(DocumentReader):
    """Walks one mapping of a plan."""

    called = "the plan"

    def note(self, key: str, **schema: Any) -> None:
        """Remember that a key was asked for, with the JSON Schema of what may stand there."""
        if isinstance(self.findings, Noted):
            self.findings.note(self.at(key), schema)

    def inner(self, key: str) -> "Reader":
        """The reader of a mapping inside this one."""
        return Reader(self.mapping(key), self.at(key), self.findings)

    def raw(self, key: str, default: object = None) -> Any:  # anything can stand in a document
        """The value as it stands; `default` where the key is missing or null."""
        self.note(key)
        return super().raw(key, default)

    def has(self, key: str) -> bool:
        """True where the key has a value."""
        self.note(key)
        return super().has(key)

    def word(self, key: str, allowed: Iterable[str], default: str) -> str:
        """One of the allowed words."""
        words = [str(word) for word in allowed]
        self.note(key, enum=words, default=str(default))
        return super().word(key, words, default)

    def text(self, key: str, default: str, limit: int = 500) -> str:
        """Any text up to a length."""
        self.note(key, type="string", maxLength=limit, default=default)
        return super().text(key, default, limit)

    def number(self, key: str, low: float, high: float, default: Any) -> Any:
        """A finite number in a range."""
        self.note(key, type="number", minimum=low, maximum=high, default=default)
        return super().number(key, low, high, default)

    def whole(self, key: str, low: int, high: int, default: Any) -> Any:
        """A whole number in a range."""
        self.note(key, type="integer", minimum=low, maximum=high, default=default)
        return super().whole(key, low, high, default)

    def wholes(self, key: str, low: int, high: int, default: Sequence[int]) -> Sequence[int]:
        """A list of whole numbers in a range."""
        item = {"type": "integer", "minimum": low, "maximum": high}
        self.note(key, type="array", items=item, default=list(default))
        value = self.raw(key, list(default))
        if not isinstance(value, list) or any(
            isinstance(one, bool) or not isinstance(one, int) or not low <= one <= high for one in value
        ):
            example = ", ".join(map(str, default))
            self.report(key, f"must be a list of whole numbers from {low} to {high}, such as [{example}]")
            return default
        return value

    def duration(self, key: str, default: float, low: float = 0.0, high: float = _DAY_S) -> float:
        """Seconds: a number, or a text such as `1m30s` or `250ms`."""
        text = {"type": "string", "pattern": DURATION_PATTERN, "minLength": 2}
        self.note(key, anyOf=[{"type": "number", "minimum": low, "maximum": high}, text], default=default)
        value = self.raw(key)
        seconds: float | None = None
        if value is None:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
        elif isinstance(value, str) and value and (found := _DURATION.match(value)):
            hours, minutes, rest, thousandths = (float(part or 0) for part in found.groups())
            seconds = 3600 * hours + 60 * minutes + rest + thousandths / 1000
        if seconds is None or not low <= seconds <= high:
            self.report(key, f"is {shown(value)}; allowed: {low:g} to {high:g} seconds, or a text such as 1m30s")
            return default
        return seconds

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        self.note(key, type="boolean", default=default)
        value = self.raw(key, default)
        if not isinstance(value, bool):
            self.report(key, f"must be true or false, not {shown(value)}")
            return default
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        self.note(key, type="array", items={"type": ["string", "number", "boolean"]})
        value = self.raw(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.report(key, f'must be a list of texts, such as ["nginx", "-g", "daemon off;"], not {shown(value)}')
            return ()
        if any("\0" in one for one in value):
            self.report(key, NUL)
            return ()
        return tuple(value)

    def command(self, key: str = "command") -> tuple[str, ...]:
        """A program and its arguments; a list without a program is none."""
        found = self.words(key)
        if self.raw(key) in (None, []):
            self.report(key, "is missing; give a list: the program and its arguments")
        elif found and not found[0]:
            self.report(key, "begins with an empty text; name the program")
        return found

    def texts_or_text(self, key: str) -> tuple[str, ...]:
        """A list of texts, or one text."""
        self.note(key, type="string")
        value = self.raw(key)
        if isinstance(value, str):
            return (value,)
        return self.words(key)

    def pattern(self, key: str) -> re.Pattern[str] | None:
        """A regular expression; None where it is missing or none."""
        self.note(key, type="string")
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            self.report(key, f"must be a regular expression, not {shown(value)}")
            return None
        try:
            return re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            self.report(key, f"is no regular expression: {error}")
            return None

    def mapping(self, key: str) -> dict[str, Any]:
        """A mapping, empty where it is missing."""
        self.note(key, type="object")
        value = self.raw(key, {})
        if not isinstance(value, Mapping):
            self.report(key, f"must be a mapping, not {kind_of(value)}")
            return {}
        return {str(name): inner for name, inner in value.items()}

    def done(self) -> None:
        """Report every key that nobody asked for, with the known one that looks most like it."""
        for key in self.document:
            if key not in self.known:
                self.report(key, f"is unknown; {nearest(key, self.known)}allowed: {', '.join(sorted(self.known))}")


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean depends_on? ` where something like it is known, else nothing."""
    found = get_close_matches(name.lower().replace("-", "_"), sorted(known), 1, 0.6)
    return f"did you mean {found[0]}? " if found else ""
