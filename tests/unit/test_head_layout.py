"""What the beginning of a film says of whether it can be planned from there."""

import io

import pytest

from millrace.engines.head_layout import (
    BEHIND,
    IN_PIECES,
    MATROSKA,
    MORE,
    OPENING_BYTES,
    STREAM,
    UNKNOWN,
    Head,
    read_head,
)

SIZE = 1_000_000_000


def box(kind: bytes, size: int, *, wide: bool = False) -> bytes:
    return (b"\0\0\0\1" + kind + size.to_bytes(8) if wide else size.to_bytes(4) + kind).ljust(
        max(16, min(size, 2000)), b"\0"
    )


def head_of(data: bytes, have: int | None = None, size: int = SIZE) -> Head:
    return read_head(io.BytesIO(data), len(data) if have is None else have, size)


FRONT = box(b"ftyp", 32) + box(b"free", 100) + box(b"moov", 1000)


def test_a_film_with_its_index_in_front_takes_that_and_some_packets() -> None:
    data = FRONT + box(b"mdat", SIZE - len(FRONT), wide=True)
    assert head_of(data) == Head(len(FRONT) + OPENING_BYTES)
    assert head_of(data, size=SIZE) == head_of(data.ljust(9000, b"x"))
    short = FRONT + box(b"mdat", 5000)
    assert head_of(short, size=len(FRONT) + 5000) == Head(len(FRONT) + 5000)


def test_more_of_the_beginning_is_asked_for_until_the_index_is_seen() -> None:
    assert head_of(FRONT, have=10) == Head(16)
    assert head_of(FRONT, have=40) == Head(48)
    # The rest of the index comes with what stands behind it.
    asked = head_of(FRONT, have=150).bytes
    assert len(FRONT) + OPENING_BYTES < asked < len(FRONT) + OPENING_BYTES + 10_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (box(b"ftyp", 32) + box(b"mdat", 5000), BEHIND),
        (FRONT + box(b"mdat", SIZE - len(FRONT) - 8), MORE),
        (FRONT + box(b"mdat", 0), MORE),
        (FRONT + box(b"moof", 500), IN_PIECES),
        (FRONT + box(b"sidx", 500), IN_PIECES),
        (box(b"ftyp", 32) + box(b"what", 500), UNKNOWN),
        (box(b"ftyp", 32) + box(b"free", 7), UNKNOWN),
        (box(b"ftyp", 32) + box(b"moov", SIZE), UNKNOWN),
        (b"\x1a\x45\xdf\xa3" + bytes(100), MATROSKA),
        (b"\x47" + bytes(187), STREAM),
        (b"RIFF" + bytes(100), UNKNOWN),
        (box(b"ftyp", 16) + box(b"free", 16) * 60, UNKNOWN),
    ],
)
def test_any_other_film_takes_all_of_it_and_says_why(data: bytes, reason: str) -> None:
    assert head_of(data) == Head(SIZE, reason)
