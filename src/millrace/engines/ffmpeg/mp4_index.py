"""The times of every packet of an MP4 file, from its index and without its data (ISO/IEC 14496-12).

FFmpeg tells the same by reading the whole file, which takes a film of two hours several seconds. What is read here is what FFmpeg
would say of plain files: one edit at the most that hides no picture, one description for each track, nothing fragmented or
encrypted. Of anything else nothing is said, and FFmpeg has to.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate, chain, pairwise, repeat
from typing import BinaryIO

from msgspec import Struct

from millrace.domain.media.source_map import PacketList
from millrace.engines.ffmpeg.packets import Packets
from millrace.engines.isobmff import boxes
from millrace.engines.sample_tables import Sizes, chunks_of, extents_of, numbers, sizes_of

MOST_INDEX_BYTES = 64 << 20
MOST_PACKETS = 4_000_000
"""More than a day of 25 frames a second with its sound."""
MOST_BOXES = 1000
KINDS = {b"vide", b"soun"}
ODD = {b"mvex", b"cmov", b"meco"}
"""Boxes of a film whose index stands elsewhere too, or in another form."""
NORMAL_RATE = 0x10000


class _NotPlain(Exception):  # noqa: N818  no error: FFmpeg is asked instead
    """Something that is not read here."""


def read_index(file: BinaryIO, size: int, *, fewest: int) -> Mapping[int, Packets] | None:
    """The packets of the streams with pictures and sound by their number, from a file of `size` bytes; None where it is no plain MP4,
    or has fewer packets than `fewest`.

    Raises:
        OSError: the file cannot be read.
    """
    found = _tracks(file, size, fewest)
    return None if found is None else {number: track.shown_packets() for number, track in found.items()}


def read_packet_lists(file: BinaryIO, size: int) -> Mapping[int, PacketList] | None:
    """The same with the size of each packet, in the order in which they are decoded; of what they hold nothing is known.

    Raises:
        OSError: the file cannot be read.
    """
    found = _tracks(file, size, 0)
    return None if found is None else {number: track.stored_packets() for number, track in found.items()}


def _tracks(file: BinaryIO, size: int, fewest: int) -> "Mapping[int, _Track] | None":
    try:
        moov = _moov(file, size)
        if moov is None or len(moov) < 4 * fewest:  # which most tables of sizes take
            return None
        return _streams(moov, size)
    except (_NotPlain, ValueError, IndexError, KeyError, OverflowError):
        return None


def _moov(file: BinaryIO, size: int) -> bytes | None:
    """The box that holds the index; None where there is none, or another one says more."""
    position, found = 0, None
    for number in range(MOST_BOXES):
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return found if position == size else None
        length, kind, begin = int.from_bytes(head[:4]), head[4:8], 8
        if length == 1:
            length, begin = int.from_bytes(head[8:16]), 16
        elif length == 0:
            length = size - position
        if (
            (number == 0 and kind != b"ftyp")
            or kind in (b"moof", b"sidx")
            or length < begin
            or position + length > size
        ):
            return None
        if kind == b"moov":
            if found is not None or length > MOST_INDEX_BYTES:
                return None
            file.seek(position + begin)
            found = file.read(length - begin)
        position += length
    return None


def _streams(moov: bytes, size: int) -> "Mapping[int, _Track]":
    parts = list(boxes(moov))
    if any(kind in ODD for kind, _ in parts) or b"covr" in dict(parts).get(b"udta", b""):
        raise _NotPlain
    scale = _times(_only(dict(parts), b"mvhd"))[0]
    tracks = [body for kind, body in parts if kind == b"trak"]
    found = {number: _track(body, scale, size) for number, body in enumerate(tracks)}
    return {number: track for number, track in found.items() if track is not None}


class _Table(Struct):
    """The tables of a track: of each packet the ticks to the next one, how much later it is shown, and its bytes; and which are key
    frames, from 1.
    """

    steps: list[int]
    later: list[int] | None
    keys: "array[int] | None"
    sizes: Sizes


class _Track(Struct, frozen=True, kw_only=True):
    """A track with pictures or sound, in ticks of which there are `scale` in a second: of each packet when it is shown and when it is
    decoded, before all is `moved` by an edit, which of them are `kept` by it, and the numbers of the key frames, from 1.
    """

    scale: int
    table: _Table
    shown: Sequence[int]
    decoding: Sequence[int]
    moved: int
    kept: range
    marks: Sequence[int]

    def shown_packets(self) -> Packets:
        """As FFmpeg would give them."""
        shown, decoding, moved = self.shown, self.decoding, self.moved
        latest = max(self.kept, key=lambda place: (shown[place], place))
        return Packets(
            time_base=Fraction(1, self.scale),
            times=[shown[place] + moved for place in self.kept],
            keys=[
                (shown[mark - 1] + moved, decoding[mark - 1] + moved) for mark in self.marks if mark - 1 in self.kept
            ],
            last_duration=self.table.steps[latest],
        )

    def stored_packets(self) -> PacketList:
        """As they lie in the file, also those that nobody sees."""
        return PacketList(
            time_base=Fraction(1, self.scale),
            times=array("q", (time + self.moved for time in self.shown)),
            sizes=self.table.sizes.one_by_one(),
            sums=array("Q"),
            keys=array("Q", (mark - 1 for mark in self.marks)),
        )


def _track(trak: bytes, movie_scale: int, size: int) -> _Track | None:
    """A track with pictures or sound; None for another one."""
    track = dict(boxes(trak))
    media = dict(boxes(_only(track, b"mdia")))
    kind = _only(media, b"hdlr")[8:12]
    if kind not in KINDS:
        return None
    info = dict(boxes(_only(media, b"minf")))
    _check_place(dict(boxes(_only(info, b"dinf"))))
    scale = _times(_only(media, b"mdhd"))[0]
    table = _table(dict(_once(boxes(_only(info, b"stbl")))), size)
    decoding = [0, *accumulate(table.steps[:-1])]
    shown = decoding if table.later is None else [at + by for at, by in zip(decoding, table.later, strict=True)]
    edits = dict(boxes(track[b"edts"])).get(b"elst") if b"edts" in track else None
    begin, end, moved = _edit(edits, scale, movie_scale)
    kept = range(len(shown))
    if begin is not None and end is not None:
        kept = _shown_pictures(shown, table, begin, end) if kind == b"vide" else _heard(decoding, table, begin, end)
    marks = range(1, len(shown) + 1) if table.keys is None else table.keys
    return _Track(scale=scale, table=table, shown=shown, decoding=decoding, moved=moved, kept=kept, marks=marks)


def _check_place(dinf: Mapping[bytes, bytes]) -> None:
    """The data lies in the file itself."""
    entries = list(boxes(_only(dinf, b"dref")[8:]))
    if any(not body[3] & 1 for _, body in entries):
        raise _NotPlain


def _once(found: Iterable[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
    """The boxes of a table; groups of samples, partial key frames and boxes that stand twice are not plain."""
    parts = list(found)
    kinds = [kind for kind, _ in parts]
    odd = {b"stps", b"senc", b"stz2"} & set(kinds)
    groups = any(kind == b"sbgp" and body[4:8] in (b"rap ", b"sync") for kind, body in parts)
    plain = [
        kind for kind in kinds if kind not in (b"sbgp", b"sgpd", b"free", b"sdtp", b"subs", b"saiz", b"saio", b"cslg")
    ]
    if odd or groups or len(plain) != len(set(plain)):
        raise _NotPlain
    return parts


def _table(stbl: Mapping[bytes, bytes], size: int) -> _Table:
    described = list(boxes(_only(stbl, b"stsd")[8:]))
    if len(described) != 1 or described[0][0].startswith(b"enc"):
        raise _NotPlain
    sizes = sizes_of(stbl)
    count = sizes.count
    if not 0 < count <= MOST_PACKETS:
        raise _NotPlain
    _check_places(stbl, sizes, size)
    steps = _runs(_only(stbl, b"stts"), count)
    later = _runs(stbl[b"ctts"], count) if b"ctts" in stbl else None
    # Of samples of a tick each FFmpeg makes packets of its own (PCM).
    if (
        (sizes.each and set(steps) == {1})
        or min(steps[:-1], default=1) < 1
        or max(chain(steps, later or ())) >= 1 << 31
    ):
        raise _NotPlain
    keys = None
    if b"stss" in stbl:
        keys = numbers(stbl[b"stss"], 4)
        if not keys or keys[0] < 1 or keys[-1] > count or any(one >= other for one, other in pairwise(keys)):
            raise _NotPlain
    return _Table(steps, later, keys, sizes)


def _runs(table: bytes, count: int) -> list[int]:
    """One value for each packet, of pairs of how many have it and what it is."""
    words = numbers(table, 4, each=2)
    if sum(words[::2]) != count:
        raise _NotPlain
    return list(chain.from_iterable(map(repeat, words[1::2], words[::2])))


def _check_places(stbl: Mapping[bytes, bytes], sizes: Sizes, size: int) -> None:
    """Every packet is of the one kind, and lies within the file: one that was cut short is FFmpeg's to describe."""
    kinds = numbers(_only(stbl, b"stsc"), 4, each=3)[2::3]
    held = sum(count for _, count in chunks_of(stbl))
    if set(kinds) != {1} or held != sizes.count or any(end > size for _, end in extents_of(stbl, sizes)):
        raise _NotPlain


def _edit(elst: bytes | None, scale: int, movie_scale: int) -> tuple[int | None, int | None, int]:
    """Where the one edit begins and ends in ticks of the track, and by how much its times are moved; None for no edit."""
    if elst is None:
        return None, None, 0
    wide = 8 if elst[0] else 4
    entries = []
    for number in range(min(int.from_bytes(elst[4:8]), 3)):
        at = 8 + number * (2 * wide + 4)
        length, time = (
            int.from_bytes(elst[at : at + wide]),
            int.from_bytes(elst[at + wide : at + 2 * wide], signed=True),
        )
        entries.append(
            (_scaled(length, scale, movie_scale), time, int.from_bytes(elst[at + 2 * wide : at + 2 * wide + 4]))
        )
    empty = entries.pop(0)[0] if entries and entries[0][1] == -1 else 0
    if len(entries) != 1 or entries[0][1] < 0 or entries[0][2] != NORMAL_RATE or not entries[0][0]:
        raise _NotPlain
    length, begin, _ = entries[0]
    return begin, begin + length, empty - begin


def _scaled(value: int, to: int, of: int) -> int:
    return (value * to + of // 2) // of


def _shown_pictures(shown: Sequence[int], table: _Table, begin: int, end: int) -> range:
    """All of them: an edit that hides some is FFmpeg's to follow."""
    marks = range(1, len(shown)) if table.keys is None else [key for key in table.keys if key < len(shown)]
    if begin != min(shown) or max(shown) >= end or any(shown[key - 1] + table.steps[key - 1] >= end for key in marks):
        raise _NotPlain
    return range(len(shown))


def _heard(decoding: Sequence[int], table: _Table, begin: int, end: int) -> range:
    """Those from the beginning of the edit on: what comes before is what a decoder needs to begin."""
    if table.later is not None or table.keys is not None:
        raise _NotPlain
    if len(decoding) > 1 and decoding[-1] >= end:
        raise _NotPlain
    return range(decoding.index(begin, 0, MOST_PRIMING), len(decoding))


MOST_PRIMING = 16
"""Packets of sound that a decoder is fed before it is heard."""


def _times(head: bytes) -> tuple[int, int]:
    """Ticks in a second, and the length in ticks, of a header of a film or its media."""
    at, wide = (20, 8) if head[0] else (12, 4)
    scale = int.from_bytes(head[at : at + 4])
    if len(head) < at + 4 + wide or not scale:
        raise _NotPlain
    return scale, int.from_bytes(head[at + 4 : at + 4 + wide])


def _only(parts: Mapping[bytes, bytes], kind: bytes) -> bytes:
    if kind not in parts:
        raise _NotPlain
    return parts[kind]
