"""What a job may name as its input and output. Whether a path lies below an allowed root, each worker decides for itself."""

import re
from urllib.parse import urlsplit

from millrace.scheduler.errors import Finding, InvalidError

INPUT_SCHEMES = ("http", "https", "s3", "upload")
OUTPUT_SCHEMES = ("s3",)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_input(location: str | None) -> None:
    """Pass, or raise :class:`InvalidError`. None is a generated clip."""
    if location is not None:
        _check("input", location, INPUT_SCHEMES)


def check_output(location: str | None) -> None:
    """Pass, or raise :class:`InvalidError`. None is kept by the master."""
    if location is not None:
        _check("output", location, OUTPUT_SCHEMES)


def _check(field: str, location: str, schemes: tuple[str, ...]) -> None:
    if _CONTROL.search(location):
        raise InvalidError(Finding(field, "holds a control character", _allowed(schemes)))
    if location.startswith("/"):
        if ".." in location and ".." in location.split("/"):
            raise InvalidError(Finding(field, "a path may not hold `..`", _allowed(schemes)))
        return
    scheme, separator, _ = location.partition("://")
    if not separator or scheme not in schemes:
        sentence = f"{location[:80]!r} is neither an absolute path nor an allowed URL"
        raise InvalidError(Finding(field, sentence, _allowed(schemes)))
    try:
        parts = urlsplit(location)
    except ValueError as error:
        raise InvalidError(Finding(field, f"is no URL: {error}", _allowed(schemes))) from error
    if not parts.netloc:
        raise InvalidError(Finding(field, "the URL names no host, bucket or upload", _allowed(schemes)))


def _allowed(schemes: tuple[str, ...]) -> tuple[str, ...]:
    return ("an absolute path", *(f"{scheme}://..." for scheme in schemes))
