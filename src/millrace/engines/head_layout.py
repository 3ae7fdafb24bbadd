"""Whether a film can be planned from its beginning, by the boxes that stand there (ISO/IEC 14496-12, 4.2 and 8.1)."""

from typing import BinaryIO

from msgspec import Struct

MOST_BOXES = 50
OPENING_BYTES = 6_000_000
"""Behind the index: FFmpeg looks at 5,000,000 bytes of packets to know what is in a file (`-probesize`)."""
BETWEEN_BYTES = 4096
"""What may lie between the index and the pictures, so that it is not asked for by itself."""
HEADER_BYTES = 16
BESIDE = frozenset({b"free", b"skip", b"wide", b"uuid", b"meta", b"pdin"})
FRAGMENTS = frozenset({b"moof", b"sidx", b"styp"})
EBML, SYNC = b"\x1a\x45\xdf\xa3", b"\x47"

IN_PIECES = "its index is spread over fragments"
BEHIND = "its index stands behind its pictures"
MORE = "something stands behind its pictures that has to be read first"
MATROSKA = "Matroska and WebM have no index of all frames at their beginning"
STREAM = "MPEG-TS has no index"
UNKNOWN = "its container has no index at its beginning that is known here"


class Head(Struct, frozen=True):
    """How many bytes of the beginning it takes to plan a film, as far as that is known, or the `reason` why it takes all."""

    bytes: int
    reason: str = ""


def read_head(file: BinaryIO, have: int, size: int) -> Head:
    """What the first `have` bytes of a file of `size` bytes say. Where it takes no more than these, it can be planned. Blocking.

    Raises:
        OSError: the file cannot be read.
    """
    place, index_end = 0, 0
    for number in range(MOST_BOXES):
        if place + HEADER_BYTES > have:
            return Head(min(size, index_end + BETWEEN_BYTES + OPENING_BYTES if index_end else place + HEADER_BYTES))
        file.seek(place)
        head = file.read(HEADER_BYTES)
        kind, length = head[4:8], int.from_bytes(head[:4])
        if length == 1:
            length = int.from_bytes(head[8:16])
        if number == 0 and kind != b"ftyp":
            return Head(size, MATROSKA if head.startswith(EBML) else STREAM if head.startswith(SYNC) else UNKNOWN)
        if kind == b"mdat":
            return _at_pictures(place, length, index_end, size)
        if kind in FRAGMENTS:
            return Head(size, IN_PIECES)
        if length < 8 or place + length > size or (kind not in (b"ftyp", b"moov") and kind not in BESIDE):
            return Head(size, UNKNOWN)
        place += length
        if kind == b"moov":
            index_end = place
    return Head(size, UNKNOWN)


def _at_pictures(place: int, length: int, index_end: int, size: int) -> Head:
    if not index_end:
        return Head(size, BEHIND)
    if place + length != size:
        return Head(size, MORE)
    return Head(min(size, place + OPENING_BYTES))
