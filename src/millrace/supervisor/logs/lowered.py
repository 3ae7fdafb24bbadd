"""Find the few lines that are worth a closer look."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Self


class Lowered:
    """Many texts in lower case. Looking for a word in all of them at once costs a tenth of looking at each."""

    def __init__(self, texts: Sequence[str]) -> None:
        """None may be changed later but by `replace`."""
        self._texts: Sequence[str] | None = texts
        self._whole = "\n".join(texts).lower()

    @classmethod
    def of(cls, text: str) -> Self:
        """The lines of one text."""
        made = cls((text,))
        made._texts = None  # cut only where a word is found
        return made

    @cached_property
    def lines(self) -> list[str]:
        """The texts in lower case."""
        lines = self._whole.split("\n")
        return (
            lines if self._texts is None or len(lines) == len(self._texts) else [text.lower() for text in self._texts]
        )

    def replace(self, index: int, text: str) -> None:
        """A text holds less than it did."""
        self.lines[index] = text.lower()

    def holding(self, signs: Iterable[str]) -> Sequence[int]:
        """The indices, in order, of the texts that hold one of the signs (which are in lower case)."""
        found: set[int] = set()
        for group, some in _by_first_letter(tuple(signs)):
            if group.search(self._whole):
                for sign in some:
                    found.update([index for index, line in enumerate(self.lines) if sign in line])
        return sorted(found)


@lru_cache(maxsize=64)
def _by_first_letter(signs: tuple[str, ...]) -> Sequence[tuple[re.Pattern[str], Sequence[str]]]:
    """Patterns that find any of some signs that begin alike: `re` skips to their letter twice as fast as `in` finds a word."""
    groups = [tuple(group) for _, group in groupby(sorted(signs), itemgetter(0))]
    return [
        (re.compile(f"{re.escape(some[0][0])}(?:{'|'.join(re.escape(one[1:]) for one in some)})"), some)
        for some in groups
    ]
