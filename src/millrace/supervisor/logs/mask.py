"""Secrets leave before anything is kept or written."""

from collections.abc import Mapping, Sequence

from millrace.supervisor.logs.lowered import Lowered
from millrace.supervisor.logs.settings import Redaction
from millrace.telemetry.redact import MASK, SIGNS, Redactor

_BEGIN = "private key-----"
_KEY_BEGINS, _KEY_ENDS, _KEY_LINE = "-----BEGIN ", "-----END ", "PRIVATE KEY-----"
MAX_KEY_LINES = 200
"""A private key of 16,384 bits has 200 lines; what goes on for longer is none, and must not be hidden for ever."""


class Masker:
    """Takes secrets out of the entries of one stream."""

    def __init__(self, rule: Redaction) -> None:
        """Not inside a private key."""
        self._rule = rule
        self._shapes = Redactor()
        self._key_lines = 0

    def own(self, texts: list[str]) -> list[str]:
        """The texts, as many as there were, without what the own rules match."""
        for rule in self._rule.rules:
            pattern, replacement = rule.pattern, rule.replacement
            texts = [pattern.sub(replacement, text) for text in texts]
        return texts

    def shapes(self, texts: list[str], low: Lowered) -> list[str]:
        """The texts, as many as there were, without the known shapes of secrets."""
        if not self._rule.known_shapes:
            return texts
        suspects = low.holding(SIGNS)
        return self._masked(texts, low, suspects) if suspects or self._key_lines else texts

    def whole(self, text: str) -> str:
        """The same for all the lines of one text, cut only where one of them may hold a secret; there are no own rules."""
        if not self._rule.known_shapes:
            return text
        low = Lowered.of(text)
        suspects = low.holding(SIGNS)
        return "\n".join(self._masked(text.split("\n"), low, suspects)) if suspects or self._key_lines else text

    def _masked(self, texts: list[str], low: Lowered, suspects: Sequence[int]) -> list[str]:
        before, texts = texts, list(texts)
        if self._key_lines or any(_BEGIN in low.lines[index] for index in suspects):
            texts = [self._outside_key(text) for text in texts]
        for index in suspects:
            texts[index] = self._shapes.text(texts[index])
        for index, (old, new) in enumerate(zip(before, texts, strict=True)):
            if new is not old:
                low.replace(index, new)  # the level is looked for in what is left
        return texts

    def plain(self, text: str) -> str:
        """One text that is no entry of its own, such as a value in a JSON line."""
        for rule in self._rule.rules:
            text = rule.pattern.sub(rule.replacement, text)
        return self._shapes.text(text) if self._rule.known_shapes else text

    def fields(self, fields: Mapping[str, object]) -> dict[str, object]:
        """What a JSON line holds; also what has the name of a secret is one."""
        known = self._rule.known_shapes
        return {
            self.plain(name): self._value(self._shapes.value(value, name) if known else value)
            for name, value in fields.items()
        }

    def _value(self, value: object) -> object:
        """The own rules, in every text inside."""
        if isinstance(value, str):
            for rule in self._rule.rules:
                value = rule.pattern.sub(rule.replacement, value)
            return value
        if isinstance(value, Mapping):
            return {str(self._value(name)): self._value(inner) for name, inner in value.items()}
        return [self._value(inner) for inner in value] if isinstance(value, list) else value

    def _outside_key(self, text: str) -> str:
        """A private key that is printed line by line."""
        if self._key_lines:
            self._key_lines -= 1
            _, end, after = text.partition(_KEY_ENDS)
            if end:
                self._key_lines = 0
            return MASK + after.partition("-----")[2] if end else MASK
        begin = text.rfind(_KEY_BEGINS)
        if begin >= 0 and _KEY_LINE in text[begin:] and _KEY_ENDS not in text[begin:]:
            self._key_lines = MAX_KEY_LINES
        return text
