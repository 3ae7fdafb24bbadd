"""What a job may name as its input and output. Whether a path lies below an allowed root, each worker decides for itself."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from millrace.domain.places import holds
from millrace.scheduler.errors import Finding, InvalidError

INPUT_SCHEMES = ("http", "https", "s3", "upload")
OUTPUT_SCHEMES = ("s3",)
PLACES = ("http", "https", "s3")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_input(location: str | None) -> None:
    """Pass, or raise :class:`InvalidError`. None is a generated clip."""
    if location is not None:
        _check("input", location, INPUT_SCHEMES)


def check_output(location: str | None) -> None:
    """Pass, or raise :class:`InvalidError`. None is kept by the master."""
    if location is not None:
        _check("output", location, OUTPUT_SCHEMES)


def check_place(field: str, place: str, *, writes: bool) -> None:
    """Pass what a tenant's inputs or (`writes`) outputs may be bound to, or raise :class:`InvalidError`."""
    _check(field, place, OUTPUT_SCHEMES if writes else PLACES)
    if not holds(place, place):
        raise InvalidError(Finding(field, f"{place[:80]!r} is no plain folder or address"))


def check_among(field: str, location: str | None, places: Sequence[str], tenant: str) -> None:
    """Pass what lies in one of a tenant's places (none: anywhere), or raise :class:`InvalidError`.

    What the master keeps is the tenant's own: uploads, and outputs without a place.
    """
    if location is None or not places or location.startswith("upload://"):
        return
    if not any(holds(place, location) for place in places):
        sentence = f"{location[:80]!r} lies in no place that tenant {tenant} may name"
        raise InvalidError(Finding(field, sentence, tuple(places)))


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
