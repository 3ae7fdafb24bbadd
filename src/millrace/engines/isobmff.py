"""CODECS strings (RFC 6381) from the bytes of an MP4 header (ISO/IEC 14496-12, -15; AV1-ISOBMFF; VP-codec-ISOBMFF), and what
it says of its track.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

MEDIA = (b"moov", b"trak", b"mdia")
PATH = (*MEDIA, b"minf", b"stbl", b"stsd")
VIDEO_ENTRY_BYTES, AUDIO_ENTRY_BYTES = 78, 28
"""Fixed parts of a sample entry before its own boxes."""


def codecs_string(header: bytes) -> str:
    """The codecs of all tracks, joined by commas, such as `avc1.640028` or `mp4a.40.2`.

    Raises:
        ValueError: the bytes are no MP4 header, or hold a codec that is not known here.
    """
    try:
        names = [_entry(kind, body) for table in below([header], PATH) for kind, body in boxes(table[8:])]
    except (IndexError, KeyError) as error:
        raise ValueError("cannot read an MP4 header that is cut short") from error
    if not names:
        raise ValueError("cannot find a track in this MP4 header")
    return ",".join(dict.fromkeys(names))


class Track(Struct, frozen=True, kw_only=True):
    """What an initialisation segment says of its one track.

    Attributes:
        timescale: ticks in a second.
        skipped: ticks of the media that lie before the presentation begins (the edit list).
        language: three letters, ISO 639-2; None where it is not known.
    """

    timescale: int
    skipped: int = 0
    language: str | None = None


def track_of(header: bytes) -> Track:
    """The track of an initialisation segment.

    Raises:
        ValueError: the bytes are no MP4 header with one track.
    """
    described = below([header], (*MEDIA, b"mdhd"))
    if len(described) != 1:
        raise ValueError(f"cannot take an initialisation segment of {len(described)} tracks for that of one")
    try:
        wide = 8 if described[0][0] else 4
        times = 4 + 2 * wide
        timescale = int.from_bytes(described[0][times : times + 4])
        packed = int.from_bytes(described[0][times + 4 + wide : times + 6 + wide])
        edits = below([header], (b"moov", b"trak", b"edts", b"elst"))
        skipped = _skipped(edits[0]) if edits else 0
    except IndexError as error:
        raise ValueError("cannot read an MP4 header that is cut short") from error
    if not timescale:
        raise ValueError("cannot read an MP4 header whose track has no timescale")
    # Five bits for each letter, counted from the one before `a`.
    letters = "".join(chr(0x60 + (packed >> shift & 0x1F)) for shift in (10, 5, 0))
    return Track(
        timescale=timescale, skipped=skipped, language=letters if letters.isalpha() and letters != "und" else None
    )


def _skipped(elst: bytes) -> int:
    """The media time of the first edit that shows something (8.6.6)."""
    wide = 8 if elst[0] else 4
    for number in range(int.from_bytes(elst[4:8])):
        place = 8 + number * (2 * wide + 4) + wide
        if place + wide > len(elst):
            raise IndexError
        time = int.from_bytes(elst[place : place + wide], signed=True)
        if time >= 0:
            return time
    return 0


def below(level: list[bytes], path: Sequence[bytes]) -> list[bytes]:
    """The bodies of all boxes at this path."""
    for name in path:
        level = [body for data in level for kind, body in boxes(data) if kind == name]
    return level


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each box. Raises ValueError for one that is larger than what holds it."""
    position = 0
    while position + 8 <= len(data):
        size, kind, begin = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8], 8
        if size == 1:
            size, begin = int.from_bytes(data[position + 8 : position + 16]), 16
        elif size == 0:
            size = len(data) - position
        if size < begin or position + size > len(data):
            raise ValueError("cannot read an MP4 header with a box that leaves its parent")
        yield kind, data[position + begin : position + size]
        position += size


def _entry(kind: bytes, body: bytes) -> str:
    name = kind.decode("latin-1")
    fixed = AUDIO_ENTRY_BYTES if name in ("mp4a", "Opus", "fLaC") else VIDEO_ENTRY_BYTES
    inner = dict(boxes(body[fixed:]))
    if name in ("avc1", "avc3"):
        return f"{name}.{inner[b'avcC'][1:4].hex()}"
    if name in ("hvc1", "hev1"):
        return f"{name}.{_hevc(inner[b'hvcC'])}"
    if name == "av01":
        return f"{name}.{_av1(inner[b'av1C'])}"
    if name == "vp09":
        record = inner[b"vpcC"][4:]
        return f"{name}.{record[0]:02d}.{record[1]:02d}.{record[2] >> 4:02d}"
    if name == "mp4a":
        return f"{name}.{_mpeg4_audio(inner[b'esds'])}"
    if name in ("Opus", "fLaC"):
        return name
    raise ValueError(f"cannot name the codec of sample entry {name!r}")


def _hevc(record: bytes) -> str:
    """Profile space and number, compatibility flags in reverse bit order, tier and level, constraint bytes (14496-15 E.3)."""
    space = ("", "A", "B", "C")[record[1] >> 6]
    tier = "H" if record[1] & 0x20 else "L"
    compatibility = int(f"{int.from_bytes(record[2:6]):032b}"[::-1], 2)
    constraints = record[6:12].rstrip(b"\0")
    parts = [
        f"{space}{record[1] & 0x1F}",
        f"{compatibility:X}",
        f"{tier}{record[12]}",
        *(f"{byte:X}" for byte in constraints),
    ]
    return ".".join(parts)


def _av1(record: bytes) -> str:
    profile, level = record[1] >> 5, record[1] & 0x1F
    tier = "H" if record[2] & 0x80 else "M"
    depth = 8 if not record[2] & 0x40 else 12 if record[2] & 0x20 else 10
    return f"{profile}.{level:02d}{tier}.{depth:02d}"


def _mpeg4_audio(esds: bytes) -> str:
    """Object type 0x40 and the audio object type of the decoder's configuration (14496-1 7.2.6, 14496-3 1.6.2.1)."""
    data = esds[4:]
    for tag, body in _descriptors(data):
        if tag != 3:
            continue
        for inner_tag, inner in _descriptors(body[3:]):
            if inner_tag == 4:
                config = next((rest for last, rest in _descriptors(inner[13:]) if last == 5), b"\x10")
                return f"{inner[0]:x}.{config[0] >> 3}"
    raise ValueError("cannot find the decoder's configuration of an audio track")


def _descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 2 <= len(data):
        tag, size = data[position], 0
        position += 1
        while True:
            byte = data[position]
            position += 1
            size = size << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        yield tag, data[position : position + size]
        position += size
