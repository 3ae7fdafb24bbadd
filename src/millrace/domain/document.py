"""Strict reading of plain data: every finding is kept with its path and what is allowed."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([kKmM]?)\Z")
RATIO = re.compile(r"(\d{1,9})/(\d{1,9})\Z")
MULTIPLES = {"": 1, "k": 1000, "m": 1_000_000}


class DocumentReader:
    """Walks one mapping: each reading names a key, and `done` reports the keys that nobody asked for."""

    called = "profile"
    """What a finding calls the document itself."""

    def __init__(self, document: object, path: str, findings: list[tuple[str, str]]) -> None:
        self.path = path
        self.findings = findings
        self.document: dict[str, Any] = {}
        self.known: set[str] = set()
        if isinstance(document, Mapping):
            self.document = {str(key): value for key, value in document.items()}
        else:
            self.findings.append((path or self.called, f"must be a mapping, not {kind_of(document)}"))

    def at(self, key: str) -> str:
        """The path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def report(self, key: str, text: str) -> None:
        """Add a finding about a key."""
        self.findings.append((self.at(key), text))

    def raw(self, key: str, default: object = None) -> Any:  # anything can stand in a document
        """The value as it stands; `default` where the key is missing or null."""
        self.known.add(key)
        value = self.document.get(key)
        return default if value is None else value

    def has(self, key: str) -> bool:
        """True where the key has a value."""
        self.known.add(key)
        return self.document.get(key) is not None

    def word(self, key: str, allowed: Iterable[str], default: str) -> str:
        """One of the allowed words."""
        value, words = self.raw(key, default), tuple(allowed)
        # A YAML writer says `preset: 9` and means the word.
        text = str(value) if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)) else ""
        if text not in words:
            self.report(key, f"is {shown(value)}; allowed: {', '.join(words)}")
            return default
        return text

    def text(self, key: str, default: str, limit: int = 500) -> str:
        """Any text up to a length."""
        value = self.raw(key, default)
        if not isinstance(value, str) or len(value) > limit:
            self.report(key, f"must be a text of at most {limit} characters, not {kind_of(value)}")
            return default
        return value

    def number(self, key: str, low: float, high: float, default: Any) -> Any:
        """A finite number in a range."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.report(key, f"must be a number from {low:g} to {high:g}, not {shown(value)}")
            return default
        if not low <= value <= high:
            self.report(key, f"is {value:g}; allowed: {low:g} to {high:g}")
            return default
        return value

    def whole(self, key: str, low: int, high: int, default: Any) -> Any:
        """A whole number in a range."""
        value = self.number(key, low, high, default)
        if isinstance(value, float):
            self.report(key, f"must be a whole number from {low} to {high}, not {value:g}")
            return default
        return value

    def even(self, key: str, low: int, high: int, default: Any) -> Any:
        """A side of a picture in pixels: a whole number in a range, and even, because 4:2:0 halves the colour's lines."""
        value = self.whole(key, low, high, default)
        if value is not None and value % 2:
            near = f"{max(value - 1, low)} or {min(value + 1, high)}"
            self.report(key, f"is {value}, and pictures in 4:2:0 need an even number of pixels; use {near}")
            return default
        return value

    def seconds(self, key: str, low: float, high: float, default: Fraction) -> Fraction:
        """A length of time in seconds, exact as written."""
        value = self.number(key, low, high, None)
        return default if value is None else Fraction(str(value))

    def rate(self, key: str, default: Fraction | None) -> Fraction | None:
        """Frames per second: a number or an exact ratio such as 30000/1001."""
        value = self.raw(key)
        if isinstance(value, str) and (match := RATIO.match(value)) and int(match[2]):
            exact = Fraction(int(match[1]), int(match[2]))
            if 1 <= exact <= 240:
                return exact
        elif isinstance(value, str) or value is None:
            if value is None:
                return default
        else:
            found = self.number(key, 1, 240, None)
            return default if found is None else Fraction(str(found)).limit_denominator(1001)
        self.report(key, f'is {shown(value)}; allowed: 1 to 240, or an exact ratio such as "30000/1001"')
        return default

    def bits_per_second(self, key: str, low: int, high: int, default: Any) -> Any:
        """A bit rate: bits per second, or a text with k or M."""
        value = self.raw(key)
        if value is None:
            return default
        amount: float | None = None
        if isinstance(value, str) and (match := AMOUNT.match(value)):
            amount = float(match[1]) * MULTIPLES[match[2].lower()]
        elif isinstance(value, int) and not isinstance(value, bool):
            amount = value
        if amount is None or not low <= amount <= high:
            self.report(
                key, f'is {shown(value)}; allowed: bits per second from {low} to {high}, such as "128k" or "5M"'
            )
            return default
        return int(amount)

    def done(self) -> None:
        """Report every key that nobody asked for."""
        for key in self.document:
            if key not in self.known:
                self.report(key, f"is unknown; allowed: {', '.join(sorted(self.known))}")


_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"), (int, "a number"), (float, "a number"), (str, "a text"), (list, "a list"), (Mapping, "a mapping"),
)  # fmt: skip


def kind_of(value: object) -> str:
    """What a value is, in words for a person."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "nothing")


def shown(value: object) -> str:
    """A value as a person may see it, cut to 60 characters."""
    describe: Callable[[object], str] = repr if isinstance(value, str | int | float) else kind_of
    seen = describe(value)
    return seen if len(seen) <= 60 else seen[:57] + "..."
