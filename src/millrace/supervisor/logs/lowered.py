"""Find the few lines that are worth a closer look."""

from collections.abc import Iterable, Sequence


class Lowered:
    """Many texts in lower case. Looking for a word in all of them at once costs a tenth of looking at each."""

    def __init__(self, texts: Sequence[str]) -> None:
        """`lines` are the texts in lower case."""
        self._count = len(texts)
        self._whole = "\n".join(texts).lower()
        lines = self._whole.split("\n") if "\n" in self._whole else [self._whole]
        self.lines = lines if len(lines) == len(texts) else [text.lower() for text in texts]

    def holding(self, signs: Iterable[str]) -> Sequence[int]:
        """The indices, in order, of the texts that hold one of the signs (which are in lower case)."""
        found: set[int] = set()
        for sign in signs:
            if sign in self._whole:
                found.update([index for index, line in enumerate(self.lines) if sign in line])
                if len(found) == self._count:
                    break
        return sorted(found)
