"""Where a source is damaged: its packets against what a decoder makes of them when it hides nothing.

FFmpeg's messages about damage name macroblocks and sizes, and no time. So the source is read twice, once copied and once decoded
with `-err_detect explode`, and a packet from which nothing came is where it is.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from msgspec.structs import replace

from millrace.domain.media.damage import Place, merged
from millrace.domain.media.probe import AudioStream, Probe, VideoStream
from millrace.domain.media.rates import FALLBACK_RATE
from millrace.engines.engine import Command
from millrace.engines.ffmpeg.packets import CORRUPT, DISCARD, KEY, Line, packet_lines
from millrace.engines.ffmpeg.reading import PROBE_MEMORY_BYTES, guarded, source

ITS_OWN = Fraction(3, 4)
"""Of the distance of two frames: how near to a packet's time its frame comes. Two fields of one frame lie half of it apart."""
WORDLESS = ("-v", "fatal", "-map_metadata", "-1", "-map_chapters", "-1")
Span = tuple[Fraction, Fraction]
LISTED = ("-f", "framecrc", "-")


def damage_commands(binary: Path | str, path: Path, probe: Probe) -> tuple[Command, ...]:
    """The packets of the pictures and sounds that the probe has found, and the frames that a strict decoder makes of them."""
    maps = [word for stream in _streams(probe) for word in ("-map", f"0:{stream.index}")]
    read = ("-copyts", *source(path), *maps)
    # With threads for frames, FFmpeg 9.0.2 may hang behind an error that does not end it.
    strict = ("-threads", "1", "-err_detect", "explode", "-max_error_rate", "1")
    # Times are those of the source: a grid of the rate would move them.
    frames = ("-fps_mode", "passthrough", "-enc_time_base", "demux")
    return (
        # Noise may take its mark from a key frame; streams are copied from the first one that has it.
        Command(
            argv=(*guarded(binary), *WORDLESS[:2], *read, *WORDLESS[2:], "-c", "copy", "-copyinkf", *LISTED),
            label="list the packets",
            reads=(path,),
            memory_bytes=PROBE_MEMORY_BYTES,
        ),
        Command(
            argv=(*guarded(binary), *WORDLESS[:2], *strict, *read, *WORDLESS[2:], *frames, *LISTED),
            label="look for damage",
            reads=(path,),
            file_bytes=1,  # it writes none
        ),
    )


def read_damage(probe: Probe, stored: str, decoded: str) -> tuple[Place, ...]:
    """The damaged places in order of time, by what the two commands have listed."""
    packets, frames = packet_lines(stored), packet_lines(decoded)
    lines = [(one, packets.get(number, []), frames.get(number, [])) for number, one in enumerate(_streams(probe))]
    places, silent = [], []
    for stream, of_stream, made in lines:
        if isinstance(stream, AudioStream):
            spans = lost_sound(of_stream, made)
            silent += spans
            places += [Place(kind="audio", stream=stream.index, start=start, end=end) for start, end in spans]
    for stream, of_stream, made in lines:
        if isinstance(stream, VideoStream):
            apart = 1 / (stream.peak_rate or stream.frame_rate or FALLBACK_RATE)
            lost = lost_pictures(of_stream, made, apart=apart, silent=silent)
            places += [replace(place, stream=stream.index) for place in lost]
    found = [_since(probe.start, place) for place in places if place.end > probe.start]
    return tuple(sorted(found, key=lambda place: (place.start, place.stream)))


def _since(start: Fraction, place: Place) -> Place:
    return replace(place, start=max(Fraction(0), place.start - start), end=place.end - start)


def _streams(probe: Probe) -> tuple[VideoStream | AudioStream, ...]:
    return (*probe.pictures, *probe.audio)


def lost_pictures(
    packets: Sequence[Line], frames: Sequence[Line], *, apart: Fraction, silent: Sequence[Span] = ()
) -> list[Place]:
    """From the first picture that a lost packet spoils to the next key frame from which pictures come again.

    `packets` are in the order of decoding, and all that follow a lost one up to the next key frame may be predicted from it. What is lost
    with an error is the picture that was due then, which need not be the one that has it: a decoder is some packets ahead. So those
    before it are as suspect, and where one of the last pictures before a key frame is lost, what follows that. Where key frames do not
    begin anew (open GOPs), a decoder shows what waits under other times, and goes on with what it has invented: twice as many before are
    suspect, and the GOP behind. Packets that are missing are told from a picture that stands for long by the sound that is missing with
    them (`silent`).
    """
    shown = sorted(frame.time for frame in frames)
    stored = [(number, packet) for number, packet in enumerate(packets) if not packet.flags & DISCARD]
    ordered = [packet for _, packet in stored]
    keys = [at for at, packet in enumerate(ordered) if packet.flags & KEY]
    begins = [0, *keys] if keys[:1] != [0] else keys
    delay = _delay([packet.time for packet in ordered])
    is_open = any(_is_open(ordered[at : at + 2]) for at in keys)
    missed = set(_before_holes(ordered, apart, silent))
    places: list[Place] = []
    suspect = False
    for begin, end in zip(begins, [*begins[1:], len(stored)], strict=True):
        lost = [at for at in range(begin, end) if not _came(ordered[at], shown, apart)]
        spoiled = sorted({*lost, *missed.intersection(range(begin, end))})
        if suspect or spoiled:
            first = begin if suspect else max(begin, spoiled[0] - delay * (2 if is_open else 1))
            places.append(_place(stored[first:], end - first, apart, is_open=is_open))
        suspect = bool(spoiled) if is_open else bool(lost) and lost[-1] >= end - delay
    return _joined([*places, *_torn_off(ordered, delay, apart)])


def _before_holes(ordered: Sequence[Line], apart: Fraction, silent: Sequence[Span]) -> Iterator[int]:
    """The packets behind which others are missing: no picture is shown for longer than a frame lasts, and there is no sound meanwhile."""
    for before, behind in pairwise(sorted(packet.time for packet in ordered)):
        if behind - before > apart * 3 / 2 and any(start < behind and before < end for start, end in silent):
            yield max(0, next(at for at, packet in enumerate(ordered) if packet.time >= behind) - 1)


def _is_open(following: Sequence[Line]) -> bool:
    """Whether what is stored behind a key frame is shown before it."""
    return len(following) > 1 and following[1].time < following[0].time


def _torn_off(stored: Sequence[Line], delay: int, apart: Fraction) -> list[Place]:
    """The last pictures of a film that is cut short, where others that are shown before them would have been stored behind them."""
    ordered = sorted(stored, key=lambda packet: packet.time)
    for at in range(max(1, len(ordered) - delay), len(ordered)):
        begin = ordered[at - 1].time + apart
        if ordered[at].time - begin > apart / 2:
            return [Place(kind="video", stream=0, start=begin, end=ordered[-1].time + (ordered[-1].duration or apart))]
    return []


def _place(stored: Sequence[tuple[int, Line]], count: int, apart: Fraction, *, is_open: bool) -> Place:
    """So many spoiled packets, the next of which is a key frame, if there is one.

    They are kept from the decoder where that key frame begins anew. Where pictures before it are stored behind it (an open GOP), it may
    not, and a decoder that misses packets does worse than one that sees damaged ones.
    """
    spoiled, rest = [packet for _, packet in stored[:count]], [packet for _, packet in stored[count:]]
    start, end = (
        min(packet.time for packet in spoiled),
        max(packet.time + (packet.duration or apart) for packet in spoiled),
    )
    # Where some GOPs are open, another key frame that looks closed need not begin anew either.
    runs = () if is_open and rest else ((stored[0][0], stored[count - 1][0]),)
    if rest:
        end = rest[0].time
    return Place(kind="video", stream=0, start=start, end=end, packets=runs)


def _joined(places: Sequence[Place]) -> list[Place]:
    """Places that touch as one."""
    found: list[Place] = []
    for place in places:
        if found and place.start <= found[-1].end:
            before = found.pop()
            start, end = min(before.start, place.start), max(before.end, place.end)
            found.append(replace(before, start=start, end=end, packets=(*before.packets, *place.packets)))
        else:
            found.append(place)
    return found


def _delay(times: Sequence[Fraction]) -> int:
    """How many packets a decoder takes before it can show the first picture, at least one: those that are shown after a later one."""
    waiting: list[Fraction] = []
    most = 1
    for time in times:
        waiting = [one for one in waiting if one > time]
        most = max(most, len(waiting) + 1)
        waiting.append(time)
    return most


def _came(packet: Line, shown: Sequence[Fraction], apart: Fraction) -> bool:
    if packet.flags & CORRUPT:
        return False
    at = bisect_left(shown, packet.time - apart * ITS_OWN)
    return at < len(shown) and shown[at] < packet.time + apart * ITS_OWN


def lost_sound(packets: Sequence[Line], frames: Sequence[Line]) -> list[Span]:
    """The packets from which no sound came, and where packets are missing, each with the one behind it, whose first half is blended with it.

    The first and the last may be silent by right: a decoder has a delay, and an edit list may end within a packet.
    """
    heard = merged((frame.time, frame.time + frame.duration) for frame in frames)
    begins = [start for start, _ in heard]
    stored = sorted((packet for packet in packets if not packet.flags & DISCARD), key=lambda packet: packet.time)
    spans = []
    for number, packet in enumerate(stored):
        inside = packet.time + packet.duration / 2
        at = bisect_left(begins, inside) - 1
        came = at >= 0 and inside < heard[at][1]
        if packet.flags & CORRUPT or (not came and 0 < number < len(stored) - 1):
            spans.append((packet.time, packet.time + 2 * packet.duration))
    for before, behind in pairwise(stored):
        end = before.time + before.duration
        if behind.time - end > before.duration / 2:
            spans.append((end, behind.time + behind.duration))
    return merged(spans)
