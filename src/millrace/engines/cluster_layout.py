"""Where the blocks of a Matroska or WebM file lie (RFC 9559)."""

from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from millrace.domain.media.byte_ranges import Span

SEGMENT, TRACKS, CUES, CLUSTER = 0x18538067, 0x1654AE6B, 0x1C53BB6B, 0x1F43B675
TRACK, TRACK_NUMBER, TRACK_TYPE = 0xAE, 0xD7, 0x83
SIMPLE_BLOCK, BLOCK_GROUP, BLOCK = 0xA3, 0xA0, 0xA1
STREAMS = (1, 2, 17)
"""Types of tracks that FFmpeg makes streams of: pictures, sound, text."""
LACING = 0x06
MOST_TRACKS = 1000
MOST_ELEMENTS = 10_000_000
"""A day of film has about as many; a hostile one could have one for every two bytes."""


class Bytes(Protocol):
    """`bytes`, or a file that is mapped into memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: slice, /) -> bytes: ...


class Clusters(Struct, frozen=True, kw_only=True):
    """`spans` of the clusters, and for each stream the bytes of its blocks in order; none of a stream with several frames in a block."""

    spans: tuple[Span, ...]
    tracks: tuple[tuple[Span, ...], ...]


def read_clusters(data: Bytes) -> Clusters:
    """Walk over all blocks.

    Raises:
        ValueError: no cues lead to the clusters, or lengths are left open.
    """
    walk = _Walk(data)
    segment = next((found for found in walk.elements(0, len(data)) if found[0] == SEGMENT), None)
    if segment is None:
        raise ValueError("its container has no index that is known here")
    numbers: list[int] = []
    spans: list[Span] = []
    blocks: dict[int, list[Span]] = {}
    laced: set[int] = set()
    has_cues, place = False, segment[1]
    for kind, begin, end in walk.elements(segment[1], segment[2]):
        if kind == TRACKS:
            numbers += _streams(walk, begin, end)
        elif kind == CLUSTER:
            spans.append((place, end))
            for number, flags, first, last in _blocks(walk, begin, end):
                blocks.setdefault(number, []).append((first, last))
                if flags & LACING:
                    laced.add(number)
        has_cues = has_cues or kind == CUES
        place = end
    if not has_cues:
        raise ValueError("it has no cues")
    tracks = tuple(() if number in laced else tuple(blocks.get(number, ())) for number in numbers)
    return Clusters(spans=tuple(spans), tracks=tracks)


def _streams(walk: "_Walk", begin: int, end: int) -> Iterator[int]:
    """The numbers of the tracks that become streams, in order."""
    for count, (kind, first, last) in enumerate(walk.elements(begin, end)):
        if count > MOST_TRACKS:
            raise ValueError(f"it has more than {MOST_TRACKS} tracks")
        if kind == TRACK:
            said = {
                each: walk.data[start:stop] for each, start, stop in walk.elements(first, last) if stop - start <= 8
            }
            if int.from_bytes(said.get(TRACK_TYPE, b"")) in STREAMS:
                yield int.from_bytes(said.get(TRACK_NUMBER, b""))


def _blocks(walk: "_Walk", begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """For each block its track's number, its flags, and where its frame lies."""
    for kind, first, last in walk.elements(begin, end):
        if kind == SIMPLE_BLOCK:
            yield _block(walk.data, first, last)
        elif kind == BLOCK_GROUP:
            for inner, start, stop in walk.elements(first, last):
                if inner == BLOCK:
                    yield _block(walk.data, start, stop)


def _block(data: Bytes, begin: int, end: int) -> tuple[int, int, int, int]:
    """A block begins with its track's number, 2 bytes of time, and its flags."""
    width, number = _number(data[begin : begin + 8])
    frame = begin + width + 3
    if frame > end:
        raise ValueError("one of its blocks is cut short")
    return number, data[frame - 1 : frame][0], frame, end


class _Walk:
    """Over the elements of one file, as far as it is worth it."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self._seen = 0

    def elements(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The ID of each element and where its content lies."""
        place = begin
        while place < end:
            self._seen += 1
            if self._seen > MOST_ELEMENTS:
                raise ValueError(f"it has more than {MOST_ELEMENTS} elements")
            head = self.data[place : min(place + 12, end)]
            wide = 9 - head[0].bit_length()
            if wide > 4:
                raise ValueError("one of its elements has no name")
            width, size = _number(head[wide : wide + 8])
            if size == (1 << 7 * width) - 1:
                raise ValueError("the length of one of its elements is left open")
            first = place + wide + width
            if first + size > end:
                raise ValueError("one of its elements leaves what holds it")
            yield int.from_bytes(head[:wide]), first, first + size
            place = first + size


def _number(head: bytes) -> tuple[int, int]:
    """How many bytes a number takes, and the number: as many bytes follow as there are zeros before the first bit (RFC 8794, 4)."""
    if not head or not head[0]:
        raise ValueError("one of its numbers is none")
    width = 9 - head[0].bit_length()
    if len(head) < width:
        raise ValueError("one of its numbers is cut short")
    return width, int.from_bytes(head[:width]) ^ 1 << 7 * width
