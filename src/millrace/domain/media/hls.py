"""HLS playlists as text (RFC 8216 and its second edition, draft-pantos-hls-rfc8216bis)."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil

from msgspec import Struct

from millrace.domain.media.ladder import Size


class Segment(Struct, frozen=True, kw_only=True):
    """One segment of a media playlist: length in seconds and its address as written."""

    duration: Fraction
    uri: str


class MediaPlaylist(Struct, frozen=True, kw_only=True):
    """A media playlist. `map_uri` is the initialisation segment, `ended` tells that nothing will be added."""

    segments: tuple[Segment, ...]
    map_uri: str | None
    ended: bool


class Bandwidth(Struct, frozen=True, kw_only=True):
    """Bits per second: of the worst segment and of the whole."""

    peak_bps: int
    average_bps: int


class AudioRendition(Struct, frozen=True, kw_only=True):
    """One entry of the audio group."""

    name: str
    uri: str
    codecs: str
    channels: int
    bandwidth: Bandwidth
    language: str | None = None


class SubtitleRendition(Struct, frozen=True, kw_only=True):
    """One entry of the subtitle group."""

    name: str
    uri: str
    language: str | None = None


class Variant(Struct, frozen=True, kw_only=True):
    """One video rendition as a player may choose it."""

    uri: str
    codecs: str
    size: Size
    rate: Fraction
    bandwidth: Bandwidth
    video_range: str | None = None
    """`PQ` or `HLG`; None where it is standard."""


def parse_media_playlist(text: str) -> MediaPlaylist:
    """Read a media playlist.

    Raises:
        ValueError: the text is no playlist, or a segment has no length.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "#EXTM3U":
        raise ValueError("cannot read a playlist that does not begin with #EXTM3U")
    segments: list[Segment] = []
    duration: Fraction | None = None
    map_uri = None
    for line in lines:
        if line.startswith("#EXTINF:"):
            duration = Fraction(line.removeprefix("#EXTINF:").split(",", 1)[0])
        elif line.startswith("#EXT-X-MAP:"):
            map_uri = line.partition('URI="')[2].partition('"')[0] or None
        elif not line.startswith("#"):
            if duration is None:
                raise ValueError(f"cannot read a playlist whose segment {line} has no EXTINF")
            segments.append(Segment(duration=duration, uri=line))
            duration = None
    return MediaPlaylist(segments=tuple(segments), map_uri=map_uri, ended="#EXT-X-ENDLIST" in lines)


def media_playlist(segments: Sequence[Segment], *, map_uri: str) -> str:
    """A whole media playlist of fragmented MP4 segments, each beginning with a key frame.

    The target duration is the longest segment to the nearest second (RFC 8216 4.3.3.1).
    """
    target = max((int(one.duration + Fraction(1, 2)) for one in segments), default=1)
    lines = [
        *("#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{max(1, target)}", "#EXT-X-MEDIA-SEQUENCE:0"),
        *("#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS", f'#EXT-X-MAP:URI="{map_uri}"'),
    ]
    for one in segments:
        lines += [f"#EXTINF:{float(one.duration):.6f},", one.uri]
    return "\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n"


def bandwidth(segments: Sequence[tuple[Fraction, int]]) -> Bandwidth:
    """The measured bandwidth of segments given as (seconds, bytes).

    The peak is that of the worst stretch of segments which lasts between half and one and a half target durations
    (RFC 8216 4.1): a last segment of two frames alone would claim an absurd peak.
    """
    known = [(seconds, size) for seconds, size in segments if seconds > 0]
    total_s, total_bytes = sum((seconds for seconds, _ in known), Fraction(0)), sum(size for _, size in known)
    if not total_s:
        return Bandwidth(peak_bps=1, average_bps=1)
    average = total_bytes * 8 / total_s
    target = max(seconds for seconds, _ in known)
    peak = max([average, *_stretches(known, target)])
    return Bandwidth(peak_bps=ceil(peak), average_bps=ceil(average))


def _stretches(segments: Sequence[tuple[Fraction, int]], target: Fraction) -> Iterator[Fraction]:
    """The bit rates of every stretch of neighbours that lasts between half and one and a half `target`."""
    for first in range(len(segments)):
        length, size = Fraction(0), 0
        for seconds, weight in segments[first:]:
            length, size = length + seconds, size + weight
            if length > target * 3 / 2:
                break
            if length >= target / 2:
                yield size * 8 / length


def master_playlist(
    variants: Sequence[Variant],
    audio: Sequence[AudioRendition] = (),
    subtitles: Sequence[SubtitleRendition] = (),
) -> str:
    """The multivariant playlist: the best variant first, every variant with the audio and subtitle groups."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for number, entry in enumerate(audio):
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="{entry.name}",{_language(entry.language)}'
            f'DEFAULT={_yes(number == 0)},AUTOSELECT=YES,CHANNELS="{entry.channels}",URI="{entry.uri}"'
        )
    lines.extend(
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="{title.name}",{_language(title.language)}'
        f'DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="{title.uri}"'
        for title in subtitles
    )
    for variant in sorted(variants, key=lambda one: -one.bandwidth.average_bps):
        codecs = ",".join(dict.fromkeys([variant.codecs, *(entry.codecs for entry in audio)]))
        groups = (',AUDIO="audio"' if audio else "") + (',SUBTITLES="subtitles"' if subtitles else "")
        shown = f",VIDEO-RANGE={variant.video_range}" if variant.video_range else ""
        peak = variant.bandwidth.peak_bps + max((entry.bandwidth.peak_bps for entry in audio), default=0)
        average = variant.bandwidth.average_bps + max((entry.bandwidth.average_bps for entry in audio), default=0)
        lines.append(
            f'#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS="{codecs}",'
            f"RESOLUTION={variant.size.width}x{variant.size.height},FRAME-RATE={float(variant.rate):.3f}{shown}{groups}"
        )
        lines.append(variant.uri)
    return "\n".join(lines) + "\n"


def single_file_playlist(uri: str, duration: Fraction) -> str:
    """A media playlist of one file: how a whole WebVTT file joins a subtitle group."""
    return (
        f"#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{max(1, ceil(duration))}\n#EXT-X-MEDIA-SEQUENCE:0\n"
        f"#EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:{float(duration):.6f},\n{uri}\n#EXT-X-ENDLIST\n"
    )


def _language(language: str | None) -> str:
    return f'LANGUAGE="{language}",' if language else ""


def _yes(value: bool) -> str:
    return "YES" if value else "NO"
