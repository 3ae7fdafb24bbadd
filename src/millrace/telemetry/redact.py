"""Secrets never reach a log: by the name of a field, by the shape of a text, and by value for those we know."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

MASK = "***"

_NAME = re.compile(
    r"pass(word|wd|phrase)|secret|token|authorization|cookie|credential|signature|(api|access|private|account|shared)[-_]?key",
    re.IGNORECASE,
)
# Nothing before the word that tells, and little behind it: a pattern that could begin anywhere in a long run of letters or
# dashes would try them all, which took 90 s for a line of 16,000 dashes.
_WORD = r"(?:pass(?:word|wd|phrase)|secret|token|credential|signature|(?:api|access|private|account|shared)[-_]?key)[\w.-]{0,64}"
_TELLING = ("pass", "secret", "token", "cred", "signature", "key")
_SHAPES: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    # Each behind the texts, in lower case, of which it needs one.
    # scheme://user:password@host and scheme://token@host (RFC 3986 3.2.1). The last @ before the path counts, because
    # people write passwords that hold one.
    (("@",), re.compile(r"([a-z][a-z0-9+.-]{0,30}://)[^/\s?#]*@", re.IGNORECASE), rf"\1{MASK}@"),
    # Authorization: Bearer abc, X-API-Key: abc, Cookie: a=b; c=d
    (
        ("authorization",),
        re.compile(
            r"((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic|digest|aws4-hmac-sha256)\s+)?[^\s\"',][^\"'\r\n]*",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (("cookie",), re.compile(r"((?:set-)?cookie[\"']?\s*[:=]\s*[\"']?)[^\"'\r\n]+", re.IGNORECASE), rf"\1{MASK}"),
    (("bearer",), re.compile(r"\b(bearer)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    # As HTTP writes it: "basic profile" is a codec's.
    (("basic",), re.compile(r"\b(Basic)\s+[A-Za-z0-9+/]{8,}={0,2}"), rf"\1 {MASK}"),
    # password=abc, "api_key": "abc", ?X-Amz-Signature=abc&, --token abc
    (
        _TELLING,
        re.compile(rf"({_WORD}[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\s&;,\"'}}]+)", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (("--",), re.compile(rf"((?<!-)--[\w.-]{{0,64}}?{_WORD}\s+)[^\s-]\S*", re.IGNORECASE), rf"\1{MASK}"),
    (("sig=", "key=", "auth="), re.compile(r"([?&](?:sig|key|auth)=)[^&\s\"'#]+", re.IGNORECASE), rf"\1{MASK}"),
    # Millrace's own keys: the spelling is in domain/keys.py; those of earlier first starts hold dashes and underscores.
    (("mr_",), re.compile(r"\bmr_[A-Za-z0-9_-]{43,49}"), MASK),
    # And the tokens with which machines join (domain/invitations.py).
    (("mrj_",), re.compile(r"\bmrj_[A-Za-z0-9]{28,71}"), MASK),
    (("akia", "asia"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), MASK),
    (
        ("private key",),
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        MASK,
    ),
)

_WORDS = re.compile(r"[A-Za-z0-9_./]*(?:-[A-Za-z0-9_./]+)*")
"""No shape but those of an AWS key and of our own is made of these alone: each needs a space, a colon, a quote, `=`, `@` or `--`."""


SIGNS = (
    "@",
    "mr_",
    "mrj_",
    "akia",
    "asia",
    "pass",
    "secret",
    "token",
    "cred",
    "signature",
    "sig=",
    "key",
    "auth",
    "cookie",
    "bearer",
    "basic",
)
"""In lower case: every shape and every name above needs one of these."""


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _NAME.search(name) is not None


class Redactor:
    """Takes secrets out of whatever is going to be written. Rather too much than too little."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """`secrets` are values known to be secret, such as the API key; very short ones would mask ordinary words."""
        known = sorted({s for s in secrets if len(s) >= 6}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None
        self._secrets = tuple(known)
        self._escaped = any(not text.isascii() or not text.isprintable() or {'"', "\\"} & set(text) for text in known)

    def suspects(self, line: str) -> bool:
        """Whether a line of JSON might hold a secret; where it does not, nobody needs to look at each of its values."""
        if self._escaped:
            return True  # JSON may spell a known secret in another way
        for secret in self._secrets:
            if secret in line:
                return True
        lower = line.lower()
        for sign in SIGNS:  # noqa: SIM110  every line of the access log comes here, and `any` costs as much as the search
            if sign in lower:
                return True
        return False

    def text(self, text: str) -> str:
        """The text with every secret that can be recognised replaced by ***."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if (
            _WORDS.fullmatch(text)
            and "AKIA" not in text
            and "ASIA" not in text
            and "mr_" not in text
            and "mrj_" not in text
        ):
            return text  # the usual case: methods, paths and ids in every line of the access log
        lower = text.lower()
        for signs, shape, replacement in _SHAPES:
            if any(sign in lower for sign in signs):
                text = shape.sub(replacement, text)
        return text

    def value(self, value: object, name: str = "") -> object:
        """The same for the value of a field called `name`, into mappings and sequences; other things become text."""
        if value is None or isinstance(value, bool | int | float):
            return (
                MASK if _is_secret(name) and isinstance(value, int | float) and not isinstance(value, bool) else value
            )
        if _is_secret(name):
            return MASK
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return self._sequence(list(value))
        return self.text(str(value))

    def _sequence(self, values: list[object]) -> list[object]:
        """An argument list may hold an option and its secret as two items."""
        cleaned: list[object] = []
        for index, value in enumerate(values):
            before = values[index - 1] if index else None
            named = isinstance(before, str) and before.startswith("-") and "=" not in before and " " not in before
            cleaned.append(self.value(value, str(before) if named else ""))
        return cleaned
