"""The times of every packet of a long Matroska or WebM file, from the headers of its blocks.

Between a block and the packet that FFmpeg makes of it stand the delay of a codec, the order of decoding, which the file does not tell, and the
lengths of what is last. So FFmpeg reads the beginning and the end, and what it says of those has to be what the headers say. Where anything
is not, nothing is said here, and FFmpeg has to read all of it.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise, repeat
from operator import ge, gt, lt
from typing import BinaryIO

from msgspec import Struct

from millrace.engines.cluster_layout import KEY_FRAME, PICTURES, TEXT, Clusters, FileBytes, Track, read_clusters
from millrace.engines.ffmpeg.packets import CORRUPT, DISCARD, KEY, UNKNOWN_TIME, Packets, Row

MOST_DEPTH = 16
"""Frames that a picture may be shown after the one that is decoded behind it: libavformat's MAX_REORDER_DELAY."""
FEWEST_COMPARED = 3 * MOST_DEPTH
"""Packets of pictures at the beginning, from which the order of decoding is known for sure."""
END_S = 3
"""The end is read from the last key frame before so many seconds of it."""


class _NotPlain(Exception):  # noqa: N818  no error: FFmpeg is asked instead
    """Something that is not as FFmpeg says."""


class Film(Struct, frozen=True, kw_only=True):
    """What the headers of a file say. `end_s` is where its end is read from, in seconds after its beginning."""

    clusters: Clusters
    end_s: float


def read_film(file: BinaryIO, *, fewest: int) -> Film | None:
    """What the headers say of a file with at least `fewest` blocks; None where they do not say all.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        found = read_clusters(FileBytes(file))
    except ValueError:
        return None
    timed = [one for one in found.streams if one.kind != TEXT]
    if not found.is_plain or sum(len(one.times) for one in timed) < fewest or not all(one.times for one in timed):
        return None
    first, last = min(one.times[0] for one in timed), max(one.times[-1] for one in timed)
    return Film(clusters=found, end_s=max(0.0, float((last - first) * found.tick - END_S)))


def packets_of(
    film: Film, bases: Mapping[int, Fraction], begin: Mapping[int, Sequence[Row]], end: Mapping[int, Sequence[Row]]
) -> Mapping[int, Packets] | None:
    """The packets of the streams with pictures and sound by their number. `begin` and `end` are those that FFmpeg has read of these streams, in
    ticks of the `bases`; None where they are not those of the film.
    """
    found = {}
    try:
        for number, track in enumerate(film.clusters.streams):
            if track.kind == TEXT:
                continue
            if bases.get(number) != film.clusters.tick or not begin.get(number) or not end.get(number):
                return None
            read = _pictures if track.kind == PICTURES else _sound
            found[number] = read(track, film.clusters.tick, begin[number], end[number])
    except _NotPlain:
        return None
    return found


def _pictures(track: Track, tick: Fraction, begin: Sequence[Row], end: Sequence[Row]) -> Packets:
    times = _times(track, begin)
    ordered = sorted(times)
    if track.laced or len(begin) < FEWEST_COMPARED or any(one == other for one, other in pairwise(ordered)):
        raise _NotPlain
    _compare(track, times, begin, 0)
    # Behind a seek FFmpeg guesses the first times of decoding, and moves those of packets that contradict its guess.
    settled = end[MOST_DEPTH:]
    _compare(track, times, settled, len(times) - len(settled))
    depth = next((each for each in range(MOST_DEPTH + 1) if _is_depth(each, ordered, begin)), None)
    if depth is None or any(map(lt, times[depth:], ordered)):
        raise _NotPlain
    decoding = [*(row.dts for row in begin[:depth]), *ordered]
    last = max(settled, key=lambda row: row.pts, default=None)
    if last is None or last.pts != ordered[-1] or any(map(ge, decoding[:depth], decoding[1 : depth + 1])):
        raise _NotPlain
    return Packets(
        time_base=tick,
        times=times,
        keys=[(times[place], decoding[place]) for place, flags in enumerate(track.flags) if flags & KEY_FRAME],
        last_duration=last.duration,
    )


def _is_depth(depth: int, ordered: Sequence[int], begin: Sequence[Row]) -> bool:
    """Whether a picture is decoded when the one is shown that comes so many before it: how libavformat says when (`compute_pkt_fields`)."""
    return all(row.dts == time for row, time in zip(begin[depth:], ordered, strict=False))


def _sound(track: Track, tick: Fraction, begin: Sequence[Row], end: Sequence[Row]) -> Packets:
    """Of frames that share a block only the first one's time is known, and when the last one ends: enough for when sound begins and ends."""
    times = _times(track, begin)
    if any(map(gt, times, times[1:])):
        raise _NotPlain
    if track.laced:
        _find(times, begin)
        _find(times, end)
    else:
        _compare(track, times, begin, 0)
        _compare(track, times, end, len(times) - len(end))
    last = end[-1]
    if last.pts < times[-1]:
        raise _NotPlain
    return Packets(time_base=tick, times=[*times, *repeat(last.pts, track.laced)], last_duration=last.duration)


def _times(track: Track, begin: Sequence[Row]) -> list[int]:
    """When each block is shown: a codec may begin earlier than its first block says (CodecDelay)."""
    moved = begin[0].pts - track.times[0]
    return [time + moved for time in track.times] if moved else track.times.tolist()


def _compare(track: Track, times: Sequence[int], rows: Sequence[Row], first: int) -> None:
    """Pass, if these packets are the blocks from the `first` on."""
    if first < 0 or len(rows) > len(times) - first:
        raise _NotPlain
    for place, row in enumerate(rows, first):
        _check(row)
        if row.pts != times[place] or row.size != track.ends[place] - track.begins[place]:
            raise _NotPlain
        if track.kind == PICTURES and bool(row.flags & KEY) != bool(track.flags[place] & KEY_FRAME):
            raise _NotPlain


def _find(times: Sequence[int], rows: Sequence[Row]) -> None:
    """Pass, if each block that begins among these packets is one of them."""
    there = {row.pts for row in rows}
    for row in rows:
        _check(row)
    if any(rows[0].pts <= time <= rows[-1].pts and time not in there for time in times):
        raise _NotPlain


def _check(row: Row) -> None:
    if row.flags & (CORRUPT | DISCARD) or UNKNOWN_TIME in (row.pts, row.dts):
        raise _NotPlain
