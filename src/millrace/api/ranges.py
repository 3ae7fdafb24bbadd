"""Byte ranges (RFC 9110, section 14): one range is served, anything else gets the whole."""

import re

from millrace.edge.refusal import RefusalError

_ONE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def range_of(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of what is asked of `size` bytes; None for the whole.

    Raises:
        RefusalError: 416, the range begins behind the end.
    """
    found = _ONE.fullmatch(header.strip()) if header else None
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        start, end = max(size - int(found[2]), 0), size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None  # not a valid range at all, and so to be ignored
    if start >= size or start == end:
        raise RefusalError(
            416,
            "range-not-satisfiable",
            f"cannot give bytes from {start} on: there are {size}",
            headers={"content-range": f"bytes */{size}"},
        )
    return start, end
