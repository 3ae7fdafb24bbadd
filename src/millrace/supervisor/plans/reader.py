"""Reads what only plans hold."""

import re
from collections.abc import Mapping
from typing import Any

from millrace.domain.document import DocumentReader, kind_of, shown

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?\Z")
_DAY_S = 86_400.0


class Reader(DocumentReader):
    """Walks one mapping of a plan."""

    def inner(self, key: str) -> "Reader":
        """The reader of a mapping inside this one."""
        return Reader(self.mapping(key), self.at(key), self.findings)

    def duration(self, key: str, default: float, low: float = 0.0, high: float = _DAY_S) -> float:
        """Seconds: a number, or a text such as `1m30s` or `250ms`."""
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
        value = self.raw(key, default)
        if not isinstance(value, bool):
            self.report(key, f"must be true or false, not {shown(value)}")
            return default
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self.raw(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) and "\0" not in one for one in value):
            self.report(key, f'must be a list of texts, such as ["nginx", "-g", "daemon off;"], not {shown(value)}')
            return ()
        return tuple(value)

    def mapping(self, key: str) -> dict[str, Any]:
        """A mapping, empty where it is missing."""
        value = self.raw(key, {})
        if not isinstance(value, Mapping):
            self.report(key, f"must be a mapping, not {kind_of(value)}")
            return {}
        return {str(name): inner for name, inner in value.items()}
