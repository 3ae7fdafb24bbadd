"""Where a container keeps its media, as its index says, and the proof that the engine reads it from there.

What an index says is believed only where the bytes in those places are the packets that FFmpeg itself has read: as many, as long, and
with the checksums that it found. So a reader of indexes here can be small, and cannot be wrong unnoticed.
"""

import mmap
import zlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

from millrace.domain.media.byte_ranges import Span, without
from millrace.domain.media.source_map import PacketList, SourceMap
from millrace.engines.cluster_layout import EBML, read_clusters
from millrace.engines.sample_layout import read_samples


def map_source(path: Path, packets: Mapping[int, PacketList], *, opening: int) -> SourceMap:
    """Where the packets lie that the engine has read of a file; it reads `opening` of them to open it. Blocking: reads all of the file.

    Raises:
        ValueError: the container has no index that is known here, or it is not the one that the engine goes by.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        is_matroska = data[:4] == EBML
        layout = read_clusters(data) if is_matroska else read_samples(file)
        tracks = layout.tracks
        with memoryview(data) as view:
            found = {
                stream: places
                for stream, wanted in packets.items()
                if wanted.sizes
                and stream < len(tracks)
                and (places := places_of(view, tracks[stream], wanted)) is not None
            }
        if not found:
            raise ValueError("its packets do not lie where its index says")
        size = len(data)
    structure = list(without(layout.spans, size))
    if not is_matroska:
        # Names of chapters, time codes and the like are read as the file is opened.
        structure += [span for stream, track in enumerate(tracks) if stream not in found for span in track]
    return SourceMap(
        size=size,
        structure=tuple(sorted(structure)),
        places=found,
        packets=packets,
        opening=opening,
        is_continuous=is_matroska,
        begins=[begin for begin, _ in layout.spans] if is_matroska else (),
    )


def map_index(path: Path, packets: Mapping[int, PacketList], *, opening: int) -> SourceMap:
    """The same by the index alone, of an MP4 or MOV of which only the beginning is here. Nobody has compared it with what FFmpeg reads,
    so who goes by it has to notice what is missing. Blocking.

    Raises:
        ValueError: the index says nothing, or contradicts itself.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        layout = read_samples(file)
    places = {stream: laid_out(layout.tracks[stream], one.sizes) for stream, one in packets.items()}
    size = path.stat().st_size
    # Names of chapters, time codes and the like are read as the file is opened.
    others = [span for stream, track in enumerate(layout.tracks) if stream not in packets for span in track]
    structure = sorted([*without(layout.spans, size), *others])
    return SourceMap(size=size, structure=tuple(structure), places=places, packets=packets, opening=opening)


def laid_out(extents: Sequence[Span], sizes: "array[int]") -> "array[int]":
    """Where packets of these sizes begin, one after the other in the extents of their track. Raises ValueError where they do not fit."""
    places = array("Q")
    left = iter(extents)
    place, end = next(left, (0, 0))
    for size in sizes:
        while size and place == end:
            place, end = next(left, (0, -1))
        if place + size > end:
            raise ValueError("its index contradicts itself")
        places.append(place)
        place += size
    return places


def places_of(data: memoryview, extents: Sequence[Span], packets: PacketList) -> "array[int] | None":
    """Where each packet begins, one after the other in the extents of its track; None where they are not those that were read."""
    try:
        places = laid_out(extents, packets.sizes)
    except ValueError:
        return None
    found = zip(places, packets.sizes, packets.sums, strict=True)
    return (
        places if all(zlib.adler32(data[place : place + size], 0) == wanted for place, size, wanted in found) else None
    )
