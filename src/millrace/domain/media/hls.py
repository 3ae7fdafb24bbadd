"""HLS playlists as text (RFC 8216 and its second edition, draft-pantos-hls-rfc8216bis)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil

from msgspec import Struct

from millrace.domain.media.ladder import Size
from millrace.domain.media.languages import UNKNOWN
from millrace.domain.media.purposes import Purpose, sound_characteristics, text_characteristics


class Segment(Struct, frozen=True, kw_only=True):
    """One segment of a media playlist: length in seconds and its address as written.

    Where it is a part of a file, it has `size` bytes from `begin`. `breaks` tells of a discontinuity before it.
    """

    duration: Fraction
    uri: str
    begin: int = 0
    size: int | None = None
    breaks: bool = False


class MediaPlaylist(Struct, frozen=True, kw_only=True):
    """A media playlist. `map_uri` is the initialisation segment, `ended` tells that nothing will be added.

    `tags` are those that hold for the whole, without `#EXT-X-`, each with what stands after its colon.
    """

    segments: tuple[Segment, ...]
    map_uri: str | None
    ended: bool
    tags: Mapping[str, str] = {}


class Bandwidth(Struct, frozen=True, kw_only=True):
    """Bits per second: of the worst segment and of the whole."""

    peak_bps: int
    average_bps: int


class AudioRendition(Struct, frozen=True, kw_only=True):
    """One entry of the audio group: `name` for people and only once in the group, `language` as BCP 47 has it."""

    name: str
    uri: str
    codecs: str
    channels: int
    bandwidth: Bandwidth
    language: str = UNKNOWN
    purposes: tuple[Purpose, ...] = ()


class SubtitleRendition(Struct, frozen=True, kw_only=True):
    """One entry of the subtitle group. `forced` ones are shown without being asked for: they translate what is foreign in the film."""

    name: str
    uri: str
    bandwidth: Bandwidth
    language: str = UNKNOWN
    forced: bool = False
    purposes: tuple[Purpose, ...] = ()


class KeyFrames(Struct, frozen=True, kw_only=True):
    """The key frames of one rendition, for players that show pictures while somebody seeks or winds."""

    uri: str
    codecs: str
    size: Size
    bandwidth: Bandwidth
    video_range: str | None = None
    """`PQ` or `HLG`; None where it is standard."""


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
    tags: dict[str, str] = {}
    said: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name in _OF_SEGMENTS:
            said[name] = value
        elif name.startswith("#EXT-X-"):
            tags[name.removeprefix("#EXT-X-")] = value
        elif not line.startswith("#"):
            segments.append(_segment(line, said))
            said = {}
    map_uri = tags.get("MAP", "").partition('URI="')[2].partition('"')[0] or None
    return MediaPlaylist(segments=tuple(segments), map_uri=map_uri, ended="ENDLIST" in tags, tags=tags)


_OF_SEGMENTS = ("#EXTINF", "#EXT-X-BYTERANGE", "#EXT-X-DISCONTINUITY")


def _segment(uri: str, said: Mapping[str, str]) -> Segment:
    if "#EXTINF" not in said:
        raise ValueError(f"cannot read a playlist whose segment {uri} has no EXTINF")
    size, _, begin = said.get("#EXT-X-BYTERANGE", "").partition("@")
    return Segment(
        duration=Fraction(said["#EXTINF"].split(",", 1)[0]),
        uri=uri,
        begin=int(begin or 0),
        size=int(size) if size else None,
        breaks="#EXT-X-DISCONTINUITY" in said,
    )


def target_duration(durations: Iterable[Fraction]) -> int:
    """The longest to the nearest second, and at least one (RFC 8216 4.3.3.1)."""
    return max([1, *(int(one + Fraction(1, 2)) for one in durations)])


def media_playlist(
    segments: Sequence[Segment], *, map_uri: str | None = None, target_s: int | None = None, key_frames: bool = False
) -> str:
    """A whole media playlist of segments that can each be played alone; with `key_frames`, each is one picture (4.3.3.6).

    `target_s` is given where playlists must agree: those of one film have one target duration (RFC 8216 6.2.4).
    """
    longest = target_duration(one.duration for one in segments)
    lines = [
        *("#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{target_s or longest}", "#EXT-X-MEDIA-SEQUENCE:0"),
        *("#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-I-FRAMES-ONLY" if key_frames else "#EXT-X-INDEPENDENT-SEGMENTS"),
        *([f'#EXT-X-MAP:URI="{map_uri}"'] if map_uri else ()),
    ]
    for one in segments:
        lines.append(f"#EXTINF:{float(one.duration):.6f},")
        lines += [f"#EXT-X-BYTERANGE:{one.size}@{one.begin}"] if one.size is not None else []
        lines.append(one.uri)
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
    key_frames: Sequence[KeyFrames] = (),
) -> str:
    """The multivariant playlist: the best variant first, every variant with the audio and subtitle groups."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for number, entry in enumerate(audio):
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="{entry.name}",LANGUAGE="{entry.language}",'
            f"DEFAULT={_yes(number == 0)},AUTOSELECT={_yes(number == 0 or Purpose.COMMENTARY not in entry.purposes)},"
            f'{_characteristics(sound_characteristics(entry.purposes))}CHANNELS="{entry.channels}",URI="{entry.uri}"'
        )
    lines.extend(
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="{title.name}",LANGUAGE="{title.language}",'
        f"DEFAULT=NO,AUTOSELECT=YES,FORCED={_yes(title.forced)},"
        f'{_characteristics(text_characteristics(title.purposes))}URI="{title.uri}"'
        for title in subtitles
    )
    beside = [[entry.bandwidth for entry in audio], [title.bandwidth for title in subtitles]]
    groups = (',AUDIO="audio"' if audio else "") + (',SUBTITLES="subtitles"' if subtitles else "")
    for variant in sorted(variants, key=lambda one: -one.bandwidth.average_bps):
        codecs = ",".join(dict.fromkeys([variant.codecs, *(entry.codecs for entry in audio)]))
        lines.append(
            f"#EXT-X-STREAM-INF:{_rates(variant.bandwidth, beside)},{_looks(codecs, variant)},"
            f"FRAME-RATE={float(variant.rate):.3f}{groups}"
        )
        lines.append(variant.uri)
    lines.extend(
        f'#EXT-X-I-FRAME-STREAM-INF:{_rates(one.bandwidth)},{_looks(one.codecs, one)},URI="{one.uri}"'
        for one in sorted(key_frames, key=lambda one: -one.bandwidth.average_bps)
    )
    return "\n".join(lines) + "\n"


def _rates(own: Bandwidth, beside: Sequence[Sequence[Bandwidth]] = ()) -> str:
    """The most that a player may have to load: with the heaviest of each group beside it (RFC 8216 4.3.4.2)."""
    peak = own.peak_bps + sum(max((one.peak_bps for one in group), default=0) for group in beside)
    average = own.average_bps + sum(max((one.average_bps for one in group), default=0) for group in beside)
    return f"BANDWIDTH={peak},AVERAGE-BANDWIDTH={average}"


def _looks(codecs: str, one: Variant | KeyFrames) -> str:
    shown = f",VIDEO-RANGE={one.video_range}" if one.video_range else ""
    return f'CODECS="{codecs}",RESOLUTION={one.size.width}x{one.size.height}{shown}'


def _characteristics(words: str) -> str:
    return f'CHARACTERISTICS="{words}",' if words else ""


def _yes(value: bool) -> str:
    return "YES" if value else "NO"
