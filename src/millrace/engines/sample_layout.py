"""Where the samples of an MP4 or MOV lie, by its sample tables (ISO/IEC 14496-12, 8.7)."""

import os
from typing import BinaryIO

from msgspec import Struct

from millrace.domain.media.byte_ranges import Span
from millrace.engines.fragments import outline
from millrace.engines.isobmff import below, boxes
from millrace.engines.sample_tables import extents_of, sizes_of

MOST_INDEX_BYTES = 64 << 20
"""A day of film has less."""


class Samples(Struct, frozen=True, kw_only=True):
    """`spans` of media data, and for each track the runs of bytes that hold its samples in order."""

    spans: tuple[Span, ...]
    tracks: tuple[tuple[Span, ...], ...]


def read_samples(file: BinaryIO) -> Samples:
    """Read the index of a movie, wherever it stands.

    Raises:
        ValueError: it has none, or keeps it in fragments.
        OSError: the file cannot be read.
    """
    try:
        tops = list(outline(file))
    except ValueError:
        raise ValueError("its container has no index that is known here") from None
    movies = [(place, size) for kind, place, size in tops if kind == b"moov"]
    if any(kind == b"moof" for kind, _, _ in tops):
        raise ValueError("its index is spread over fragments")
    if len(movies) != 1 or movies[0][1] > MOST_INDEX_BYTES:
        raise ValueError("its container has no index that is known here")
    place, size = movies[0]
    file.seek(place)
    try:
        movie = file.read(size)
        tracks = [_track(body) for kind, body in boxes(_body(movie)) if kind == b"trak"]
    except (IndexError, KeyError, ValueError):
        raise ValueError("its index cannot be read") from None
    length = file.seek(0, os.SEEK_END)
    if any(end > length for track in tracks for _, end in track):
        raise ValueError("its index names places beyond its end")
    # With the longest header that a box may have, 16 bytes.
    spans = tuple((place + 16, place + size) for kind, place, size in tops if kind == b"mdat" and size > 16)
    return Samples(spans=spans, tracks=tuple(tracks))


def _body(box: bytes) -> bytes:
    return next(body for _, body in boxes(box))


def _track(trak: bytes) -> tuple[Span, ...]:
    tables = dict(boxes(below([trak], (b"mdia", b"minf", b"stbl"))[0]))
    return tuple(extents_of(tables, sizes_of(tables)))
