"""What the movie fragments of a segment say of themselves (ISO/IEC 14496-12, 8.8): where they lie, when, and how long.

Of media data nothing is read, so that a whole film of segments costs some reads of a few hundred bytes each.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from millrace.engines.isobmff import boxes

MOST_BOXES, MOST_BYTES, MOST_SAMPLES = 10_000, 1 << 20, 100_000
"""What is not trusted may claim anything: so many boxes in one segment, so large a header of a fragment, so many samples in it."""
NON_SYNC = 0x00010000
"""`sample_is_non_sync_sample` among the flags of a sample."""


class Fragment(Struct, frozen=True, kw_only=True):
    """One movie fragment. Bytes are places in the file, times are ticks of the track, without its edit list.

    Attributes:
        begin: where its header begins.
        first_end: where the first sample ends, so that `begin` to here is a file with one picture.
        time: when the first sample is shown.
        decode_time: when it is decoded.
        duration: of all its samples together.
        samples: how many there are.
        sync: whether the first one is a key frame.
    """

    begin: int
    first_end: int
    time: int
    decode_time: int
    duration: int
    samples: int
    sync: bool


def read_fragments(file: BinaryIO) -> tuple[Fragment, ...]:
    """The fragments of one segment, in order.

    Raises:
        ValueError: the file holds none, or none that can be read.
        OSError: the file cannot be read.
    """
    found = []
    for kind, begin, size in outline(file):
        if kind != b"moof":
            continue
        if size > MOST_BYTES:
            raise ValueError("cannot read a segment whose movie fragment has a header of more than a megabyte")
        file.seek(begin)
        try:
            found.append(_fragment(file.read(size), begin))
        except (IndexError, KeyError, struct.error) as error:
            raise ValueError("cannot read a movie fragment that is cut short or leaves out what it must say") from error
    if not found:
        raise ValueError("cannot find a movie fragment in this segment")
    return tuple(found)


def duration(fragments: tuple[Fragment, ...]) -> int:
    """The ticks from the first sample of a segment to its end."""
    return sum(one.duration for one in fragments)


def outline(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and size of every box at the top."""
    end = file.seek(0, os.SEEK_END)
    place = 0
    for _ in range(MOST_BOXES):
        if place == end:
            return
        file.seek(place)
        head = file.read(16)
        size = int.from_bytes(head[:4])
        if size == 1:
            size = int.from_bytes(head[8:16])
        if size < 8 or place + size > end:
            raise ValueError("cannot read a segment with a box that leaves the file")
        yield head[4:8], place, size
        place += size
    raise ValueError(f"cannot read a segment of more than {MOST_BOXES} boxes")


def _fragment(moof: bytes, begin: int) -> Fragment:
    traf = _only(moof[8:], b"traf")
    defaults = _defaults(_only(traf, b"tfhd"))
    time, run = _only(traf, b"tfdt"), _only(traf, b"trun")
    decode_time = int.from_bytes(time[4:12] if time[0] else time[4:8])
    flags, count = int.from_bytes(run[1:4]), int.from_bytes(run[4:8])
    if not 0 < count <= MOST_SAMPLES:
        raise ValueError(f"cannot read a movie fragment of {count} samples; one has 1 to {MOST_SAMPLES}")
    place = 8
    data_offset = len(moof) + 8
    if flags & 0x1:
        data_offset, place = int.from_bytes(run[place : place + 4], signed=True), place + 4
    first_flags = None
    if flags & 0x4:
        first_flags, place = int.from_bytes(run[place : place + 4]), place + 4
    fields = [name for name, bit in _FIELDS if flags & bit]
    row = struct.Struct(">" + "".join("i" if name == "offset" and run[0] else "I" for name in fields))
    # What follows is what one sample says after the other; where none says anything, the defaults hold for all.
    rows = list(row.iter_unpack(run[place : place + row.size * count])) if fields else [()] * count
    if len(rows) != count:
        raise IndexError
    said = {**defaults, "offset": 0, **dict(zip(fields, rows[0], strict=True))}
    said |= {} if first_flags is None else {"flags": first_flags}
    durations = (
        [each[fields.index("duration")] for each in rows] if "duration" in fields else [said["duration"]] * count
    )
    return Fragment(
        begin=begin,
        first_end=begin + data_offset + said["size"],
        time=decode_time + said["offset"],
        decode_time=decode_time,
        duration=sum(durations),
        samples=count,
        sync=not said["flags"] & NON_SYNC,
    )


def _only(data: bytes, kind: bytes) -> bytes:
    found = [body for each, body in boxes(data) if each == kind]
    if len(found) != 1:
        raise ValueError(f"cannot read a movie fragment with {len(found)} boxes {kind.decode()} in the place of one")
    return found[0]


_FIELDS = (("duration", 0x100), ("size", 0x200), ("flags", 0x400), ("offset", 0x800))


def _defaults(tfhd: bytes) -> dict[str, int]:
    """What holds for every sample that does not say otherwise; places of data must count from the fragment's own header."""
    flags = int.from_bytes(tfhd[1:4])
    if not flags & 0x020000 or flags & 0x1:
        raise ValueError("cannot read a movie fragment whose data is not counted from its own header")
    named = [name for name, bit in (("", 0x2), ("duration", 0x8), ("size", 0x10), ("flags", 0x20)) if flags & bit]
    values = struct.unpack(f">{len(named)}I", tfhd[8 : 8 + 4 * len(named)])
    return dict(zip(named, values, strict=True))
