"""Byte ranges (RFC 9110, section 14): one range is served, several get the whole, and what is no range is ignored."""

import re

from millrace.edge.call import Call
from millrace.edge.refusal import RefusalError

_SET = re.compile(r"bytes=(.*)", re.IGNORECASE)
_ONE = re.compile(r"([0-9]*)-([0-9]*)")
_MOST_DIGITS = 18
_BEYOND = 10**_MOST_DIGITS
"""Larger than any file; longer numbers are as good as this one, and need not be worked out."""


def asked_range(call: Call[None], size: int, *, etag: str) -> tuple[int, int] | None:
    """What of `size` bytes a request asks for, as :func:`range_of`; the whole where it is no GET, or not of this `etag`.

    Raises:
        RefusalError: 416, see :func:`range_of`.
    """
    if call.scope["method"] != "GET" or call.header("if-range") not in (None, f'"{etag}"'):
        return None
    return range_of(call.header("range"), size)


def range_of(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of what is asked of `size` bytes; None for the whole. Pure.

    Raises:
        RefusalError: 416, nothing that is asked for is there.
    """
    asked = _specs(header or "")
    if not asked:
        return None
    there = [one for one in (_there(first, last, size) for first, last in asked) if one is not None]
    if not there:
        raise RefusalError(
            416,
            "range-not-satisfiable",
            f"cannot give this range: there are {size} bytes",
            headers={"content-range": f"bytes */{size}"},
        )
    # Several ranges would need a reply in parts, which no client of ours asks for; a server may send the whole instead.
    # So it does with the last bytes of an empty file: there is no Content-Range for nothing.
    return there[0] if len(there) == 1 and there[0][0] < there[0][1] else None


def _specs(header: str) -> list[tuple[int | None, int | None]]:
    """First and last byte of each range, or (None, count) for the last bytes; empty where any of it is wrong."""
    found = _SET.fullmatch(header.strip(" \t"))
    if found is None:
        return []
    specs: list[tuple[int | None, int | None]] = []
    for part in found[1].split(","):
        text = part.strip(" \t")
        if not text:
            continue  # a list may have empty elements (5.6.1)
        one = _ONE.fullmatch(text)
        if one is None or one[1] == one[2] == "" or (one[1] and one[2] and _size(one[2]) < _size(one[1])):
            return []
        specs.append((_number(one[1]), _number(one[2])))
    return specs


def _there(first: int | None, last: int | None, size: int) -> tuple[int, int] | None:
    """What there is of one range, or None."""
    if first is None:
        return (max(size - last, 0), size) if last else None
    if first >= size:
        return None
    return first, size if last is None else min(last + 1, size)


def _size(digits: str) -> tuple[int, str]:
    """Puts numbers of any length in order."""
    bare = digits.lstrip("0")
    return len(bare), bare


def _number(digits: str) -> int | None:
    bare = digits.lstrip("0")
    return None if not digits else _BEYOND if len(bare) > _MOST_DIGITS else int(bare or "0")
