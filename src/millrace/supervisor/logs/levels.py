"""How serious a text is."""

import re
from collections.abc import Sequence

from millrace.supervisor.logs.entry import LEVELS, Level
from millrace.supervisor.logs.lowered import Lowered
from millrace.supervisor.logs.settings import Detection

LOOK_CHARS = 300
"""Further behind nobody writes the level."""

_TRACE = "traceback (most recent call last)"
_WORD = re.compile("|".join((re.escape(_TRACE), *sorted(LEVELS, key=len, reverse=True))))
"""Matches lower case only: so `re` skips what none of these begins with, and is three times as fast."""
_NAMED = re.compile(r"(?:level|lvl|severity)[\"']?\s?[=:]\s?[\"']?\Z")
_AFTER = re.compile(r" ?[:\]]|>")
_SIGNS = ("err", "crit", "emerg", "alert", "fatal", "panic", "severe", "warn", "debug", "trace", "verbose")


class Detector:
    """Finds levels as a rule says."""

    def __init__(self, rule: Detection) -> None:
        """Looks for words that mean the default only where that can change anything."""
        self._rule = rule
        self._signs = (*_SIGNS, "info", "notice") if rule.default is not Level.INFO else _SIGNS

    def levels(self, texts: Sequence[str], low: Lowered) -> list[Level]:
        """One for each text. Own patterns go first, the gravest first; then the first of the usual words tells."""
        rule = self._rule
        found = [rule.default] * len(texts)
        if not rule.enabled:
            return found
        for index in low.holding(self._signs):
            found[index] = usual(texts[index], low.lines[index]) or rule.default
        if rule.patterns:
            for index, text in enumerate(texts):
                found[index] = next((level for level, pattern in rule.patterns if pattern.search(text)), found[index])
        return found


def usual(text: str, lower: str) -> Level | None:
    """What the words that most programs write tell about a text, which also comes in lower case.

    A word counts in capitals (`12:00:00 ERROR`), before a colon or the end of a bracket (`error: no`, `[warn]`, `<info>`), and
    after `level=`; the first one counts.
    """
    for found in _WORD.finditer(lower, 0, LOOK_CHARS):
        word, start, end = found[0], found.start(), found.end()
        if word == _TRACE:
            return Level.ERROR
        if _is_part(lower[start - 1 : start]) or _is_part(lower[end : end + 1]):
            continue
        if text[start:end].isupper() or _AFTER.match(lower, end) or _NAMED.search(lower, max(0, start - 12), start):
            return LEVELS[word]
    return None


def _is_part(sign: str) -> bool:
    """Whether a sign belongs to the word next to it."""
    return sign.isalnum() or sign == "_"
