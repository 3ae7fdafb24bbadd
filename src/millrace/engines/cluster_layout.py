"""Where the blocks of a Matroska or WebM file lie and when they are shown, by the headers of its elements alone (RFC 9559).

Of a film of two hours that is half a million headers, so those that nearly all blocks have are read by a loop that was made for them
alone: a few at a time, and over what lies between them.
"""

import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import BinaryIO, Protocol

from msgspec import Struct, field

from millrace.domain.media.byte_ranges import Span

EBML = b"\x1a\x45\xdf\xa3"
"""What such a file begins with."""
SEGMENT, INFO, TRACKS, CUES, CLUSTER, ATTACHMENTS = (
    0x18538067,
    0x1549A966,
    0x1654AE6B,
    0x1C53BB6B,
    0x1F43B675,
    0x1941A469,
)
TIMESTAMP_SCALE, ATTACHED_FILE, MEDIA_TYPE = 0x2AD7B1, 0x61A7, 0x4660
TRACK, TRACK_NUMBER, TRACK_TYPE = 0xAE, 0xD7, 0x83
TIMESTAMP, SIMPLE_BLOCK, BLOCK_GROUP, BLOCK, REFERENCE = 0xE7, 0xA3, 0xA0, 0xA1, 0xFB
VOID, CRC = 0xEC, 0xBF
BESIDE_CLUSTERS = {0x114D9B74, 0x1043A770, 0x1254C367, INFO, TRACKS, CUES, ATTACHMENTS, VOID, CRC}
BESIDE_BLOCKS = {0xA7, 0xAB, VOID, CRC}
"""Where a cluster lies, and how long the one before it is."""
BESIDE_A_BLOCK = {0x9B, 0x75A1, 0x75A2, 0xFA, VOID, CRC}
"""Its length, what is added to it or left out of it, and how soon it may be dropped."""
ODD_IN_A_TRACK = {0x23314F, 0x6D80, 0xE2}
"""A clock of its own, a compression or cipher, a combination of others."""
PICTURES, SOUND, TEXT = 1, 2, 17
STREAMS = (PICTURES, SOUND, TEXT)
"""Types of tracks that FFmpeg makes streams of."""
KEY_FRAME, LACING = 0x80, 0x06
NANOSECONDS, USUAL_SCALE = 10**9, 10**6
MOST_TRACKS = 1000
MOST_ELEMENTS = 10_000_000
"""A day of film has about as many; a hostile one could have one for every two bytes."""
LATEST = 1 << 62
"""No film is so late."""
WINDOW = 4096
"""Bytes that are read at a time: the next header mostly lies beyond them, or soon."""
HEAD = 16
"""Bytes that the header of a block has at the most, with the number of frames in it."""
_KIND = struct.Struct(">H")
_ONE, _TWO, _THREE = struct.Struct(">BhB"), struct.Struct(">HBhB"), struct.Struct(">BHBhB")
"""What follows the kind of a simple block: the rest of its length where that has 2 or 3 bytes, its track's number, time and flags."""


class Bytes(Protocol):
    """`bytes`, or something else that gives parts of a file."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: slice, /) -> bytes: ...


class FileBytes:
    """The bytes of an open file, as it is at that moment. A file that somebody cuts short gives less, where one that is mapped into memory
    ends the process.
    """

    def __init__(self, file: BinaryIO) -> None:
        """`file` stays open."""
        self._descriptor = file.fileno()
        self._size = os.fstat(self._descriptor).st_size

    def __len__(self) -> int:
        """Bytes that it had when it was opened."""
        return self._size

    def __getitem__(self, place: slice) -> bytes:
        """Read them. Raises OSError."""
        return os.pread(self._descriptor, place.stop - place.start, place.start)


class Track(Struct, kw_only=True):
    """A track that becomes a stream, and its blocks in the order of the file.

    Attributes:
        number: what its blocks name.
        kind: PICTURES, SOUND or TEXT.
        times: when each block is shown, in ticks of the film.
        flags: of each block, KEY_FRAME and LACING.
        begins, ends: where the content of each block begins, and where the block ends.
        laced: frames in blocks of several, apart from the first of each.
    """

    number: int
    kind: int
    times: "array[int]" = field(default_factory=lambda: array("q"))
    flags: bytearray = field(default_factory=bytearray)
    begins: "array[int]" = field(default_factory=lambda: array("Q"))
    ends: "array[int]" = field(default_factory=lambda: array("Q"))
    laced: int = 0


class Clusters(Struct, frozen=True, kw_only=True):
    """What a file holds.

    Attributes:
        spans: of the clusters, each with what lies before it.
        streams: in order.
        tick: seconds.
        is_plain: whether nothing was met of which it is not sure here what FFmpeg makes of it.
    """

    spans: tuple[Span, ...]
    streams: tuple[Track, ...]
    tick: Fraction
    is_plain: bool

    @property
    def tracks(self) -> Sequence[Sequence[Span]]:
        """For each stream the bytes of its frames in order; none of a stream with several frames in a block."""
        return tuple(() if one.laced else tuple(zip(one.begins, one.ends, strict=True)) for one in self.streams)


def read_clusters(data: Bytes) -> Clusters:
    """Walk over all blocks.

    Raises:
        ValueError: no cues lead to the clusters, lengths are left open, or it is no such file.
    """
    walk = _Walk(data)
    if data[0:4] != EBML:
        raise ValueError("its container has no index that is known here")
    segment = next((found for found in walk.elements(0, len(data)) if found[0] == SEGMENT), None)
    if segment is None:
        raise ValueError("its container has no index that is known here")
    walk.segment(segment[1], segment[2])
    if not walk.has_cues:
        raise ValueError("it has no cues")
    return Clusters(
        spans=tuple(walk.spans),
        streams=tuple(walk.streams),
        tick=Fraction(walk.scale, NANOSECONDS),
        is_plain=walk.is_plain
        and segment[2] == len(data)
        and len({one.number for one in walk.streams}) == len(walk.streams),
    )


class _Walk:
    """Over the elements of one file, as far as it is worth it."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.scale = USUAL_SCALE
        self.streams: list[Track] = []
        self.spans: list[Span] = []
        self.has_cues = False
        self.is_plain = True
        self._met: set[int] = set()
        self._left = iter(range(MOST_ELEMENTS))
        self._known: dict[int, Track] = {}

    def segment(self, begin: int, end: int) -> None:
        """All of a film."""
        place = begin
        for kind, first, last in self.elements(begin, end):
            if kind == CLUSTER:
                self.spans.append((place, last))
                self._cluster(first, last)
            else:
                self._beside_clusters(kind, first, last)
            place = last

    def elements(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The ID of each element and where its content lies."""
        place = begin
        while place < end:
            element = self._element(place, end)
            yield element
            place = element[2]

    def _element(self, place: int, end: int) -> tuple[int, int, int]:
        if next(self._left, None) is None:
            raise ValueError(f"it has more than {MOST_ELEMENTS} elements")
        head = self.data[place : min(place + 12, end)]
        wide = 9 - head[0].bit_length() if head else 9
        if wide > 4:
            raise ValueError("one of its elements has no name")
        width, size = _number(head[wide : wide + 8])
        if size == (1 << 7 * width) - 1:
            raise ValueError("the length of one of its elements is left open")
        first = place + wide + width
        if first + size > end:
            raise ValueError("one of its elements leaves what holds it")
        return int.from_bytes(head[:wide]), first, first + size

    def _beside_clusters(self, kind: int, begin: int, end: int) -> None:
        if kind in (INFO, TRACKS) and (self.spans or kind in self._met):
            self.is_plain = False
        self._met.add(kind)
        if kind == INFO:
            for each, first, last in self.elements(begin, end):
                if each == TIMESTAMP_SCALE:
                    self.scale = self._value(first, last)
        elif kind == TRACKS:
            self._tracks(begin, end)
        elif kind == CUES:
            self.has_cues = True
        elif kind == ATTACHMENTS:
            self._attachments(begin, end)
        elif kind not in BESIDE_CLUSTERS:
            self.is_plain = False

    def _tracks(self, begin: int, end: int) -> None:
        for count, (kind, first, last) in enumerate(self.elements(begin, end)):
            if count > MOST_TRACKS:
                raise ValueError(f"it has more than {MOST_TRACKS} tracks")
            if kind != TRACK:
                continue
            said = {each: self._value(start, stop) for each, start, stop in self.elements(first, last)}
            if said.get(TRACK_TYPE) in STREAMS:
                track = Track(number=said.get(TRACK_NUMBER, 0), kind=said[TRACK_TYPE])
                self.streams.append(track)
                self._known[track.number] = track
                self.is_plain = self.is_plain and not said.keys() & ODD_IN_A_TRACK

    def _attachments(self, begin: int, end: int) -> None:
        """A picture among them becomes a stream, too."""
        for kind, first, last in self.elements(begin, end):
            if kind == ATTACHED_FILE:
                types = [
                    self.data[start:stop] for each, start, stop in self.elements(first, last) if each == MEDIA_TYPE
                ]
                self.is_plain = self.is_plain and not any(one.lower().startswith(b"image/") for one in types)

    def _value(self, begin: int, end: int) -> int:
        """A whole number; 0 of what is none."""
        return int.from_bytes(self.data[begin:end]) if end - begin <= 8 else 0

    def _cluster(self, begin: int, end: int) -> None:
        """Take note of the blocks of one cluster, most of which are simple ones whose length has at most 3 bytes. What begins with the longest
        ones of a width is left to `_other`: among these is that of an open end.
        """
        data, window, base, safe = self.data, b"", begin, -1
        place, time = self._opening(begin, end)
        notes = {
            0x80 | number: (one, one.times.append, one.flags.append, one.begins.append, one.ends.append)
            for number, one in self._known.items()
            if number < 0x7F
        }
        for _ in self._left:
            if place >= end:
                return
            at = place - base
            if at > safe:
                window, base, at = data[place : place + WINDOW].ljust(HEAD, b"\0"), place, 0
                safe = len(window) - HEAD
            (kind,) = _KIND.unpack_from(window, at)
            if 0xA340 <= kind < 0xA37F:
                length, number, later, flags = _TWO.unpack_from(window, at + 1)
                first, last = place + 7, place + 3 + (length & 0x3FFF)
            elif 0xA320 <= kind < 0xA33F:
                high, low, number, later, flags = _THREE.unpack_from(window, at + 1)
                first, last = place + 8, place + 4 + ((high & 0x1F) << 16 | low)
            elif 0xA380 <= kind < 0xA3FF:
                number, later, flags = _ONE.unpack_from(window, at + 2)
                first, last = place + 6, place + 2 + (kind & 0x7F)
            else:
                number = 0
            note = notes.get(number)
            if note is None:
                place = self._other(place, end, time)
                continue
            if not first <= last <= end:
                raise ValueError("one of its blocks is cut short")
            track, add_time, add_flags, add_begin, add_end = note
            add_time(time + later)
            add_flags(flags)
            add_begin(first)
            add_end(last)
            if flags & LACING:
                track.laced += window[at + first - place]
            place = last
        raise ValueError(f"it has more than {MOST_ELEMENTS} elements")

    def _opening(self, begin: int, end: int) -> tuple[int, int]:
        """Where the blocks of a cluster begin, and its time, which stands before them."""
        for kind, first, last in self.elements(begin, end):
            if kind == TIMESTAMP:
                return last, min(self._value(first, last), LATEST)
            if kind not in BESIDE_BLOCKS:
                break
        self.is_plain = False
        return begin, 0

    def _other(self, place: int, end: int, time: int) -> int:
        """Take note of what is no simple block of a known track, or one that is written in a wide form; where it ends."""
        kind, first, last = self._element(place, end)
        if kind == SIMPLE_BLOCK:
            self._block(first, last, time, self.data[first : first + HEAD])
        elif kind == BLOCK_GROUP:
            inner = list(self.elements(first, last))
            blocks = [(start, stop) for each, start, stop in inner if each == BLOCK]
            kinds = {each for each, _, _ in inner} - {BLOCK, REFERENCE}
            self.is_plain = self.is_plain and len(blocks) == 1 and kinds <= BESIDE_A_BLOCK
            is_key = not any(each == REFERENCE for each, _, _ in inner)
            for start, stop in blocks:
                self._block(start, stop, time, self.data[start : start + HEAD], is_key=is_key)
        elif kind not in BESIDE_BLOCKS:
            self.is_plain = False
        return last

    def _block(self, begin: int, end: int, time: int, head: bytes, *, is_key: bool | None = None) -> None:
        """A block begins with its track's number, 2 bytes of time, and its flags; in a group its place says whether `is_key`."""
        width, number = _number(head[:8])
        frame = begin + width + 3
        if frame > end or len(head) < width + 3:
            raise ValueError("one of its blocks is cut short")
        track = self._known.get(number)
        if track is None:
            return
        flags = head[width + 2]
        track.times.append(time + int.from_bytes(head[width : width + 2], signed=True))
        track.flags.append(flags if is_key is None else flags & LACING | (KEY_FRAME if is_key else 0))
        track.begins.append(frame)
        track.ends.append(end)
        track.laced += head[width + 3] if flags & LACING and len(head) > width + 3 else 0


def _number(head: bytes) -> tuple[int, int]:
    """How many bytes a number takes, and the number: as many bytes follow as there are zeros before the first bit (RFC 8794, 4)."""
    if not head or not head[0]:
        raise ValueError("one of its numbers is none")
    width = 9 - head[0].bit_length()
    if len(head) < width:
        raise ValueError("one of its numbers is cut short")
    return width, int.from_bytes(head[:width]) ^ 1 << 7 * width
