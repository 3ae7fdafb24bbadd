"""The manifest of DASH (ISO/IEC 23009-1) over segments that lie there already."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil

from msgspec import Struct

from millrace.domain.media.ladder import Size
from millrace.domain.media.languages import UNKNOWN
from millrace.domain.media.purposes import ACCESSIBILITY, AUDIO_PURPOSES, Purpose

NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
LIVE_PROFILE = "urn:mpeg:dash:profile:isoff-live:2011"
"""The profile whose segments are files of their own, for films as well as for live streams."""
ROLES = "urn:mpeg:dash:role:2011"
CHANNELS = "urn:mpeg:mpegB:cicp:ChannelConfiguration"
TRANSFERS = {"PQ": 16, "HLG": 18}
"""ISO/IEC 23091-2, beside which the primaries and the matrix are those of BT.2020 (9)."""
CHANNEL_CONFIGURATIONS = {8: 12}
"""Where the number of the layout is not that of its channels (ISO/IEC 23091-3): 7.1 with its back channels beside the listener."""


class Span(Struct, frozen=True, kw_only=True):
    """One segment: ticks of its track from `start` on its own clock, and its size in bytes."""

    start: int
    ticks: int
    size: int


class Segments(Struct, frozen=True, kw_only=True):
    """The segments of one representation, named by its id and their number from 0.

    Attributes:
        timescale: ticks in a second.
        origin: ticks on the track's own clock at which the presentation begins.
        spans: in order, each begins where the one before ends.
    """

    timescale: int
    origin: int
    spans: tuple[Span, ...]

    @property
    def end(self) -> Fraction:
        """Seconds of the presentation at which they end."""
        return Fraction(self.spans[-1].start + self.spans[-1].ticks - self.origin, self.timescale)

    @property
    def lengths(self) -> tuple[Fraction, ...]:
        """Seconds of each."""
        return tuple(Fraction(span.ticks, self.timescale) for span in self.spans)

    @property
    def longest(self) -> Fraction:
        """Seconds of the longest."""
        return Fraction(max(span.ticks for span in self.spans), self.timescale)

    @property
    def bandwidth_bps(self) -> int:
        """A rate at which nothing is ever late for who waits for `longest` seconds first (23009-1 5.3.5.2).

        All but the last come at least as fast as they are played. The last one may be short and heavy: it has the time of
        waiting, because everything before it is there when it begins.
        """
        rates = [Fraction(span.size * 8 * self.timescale, span.ticks) for span in self.spans[:-1]]
        return ceil(max([self.spans[-1].size * 8 / self.longest, *rates]))


class Picture(Struct, frozen=True, kw_only=True):
    """A rendition of the pictures; its id is the folder of its segments. `video_range` is `PQ` or `HLG`, None where it is standard."""

    id: str
    codecs: str
    size: Size
    rate: Fraction
    segments: Segments
    video_range: str | None = None


class Sound(Struct, frozen=True, kw_only=True):
    """A rendition of a sound track. Those of one `track` are the same sound, so that a player may change between them."""

    id: str
    codecs: str
    channels: int
    sample_rate: int
    segments: Segments
    track: tuple[int, int]
    name: str
    language: str = UNKNOWN
    purposes: tuple[Purpose, ...] = ()


class Text(Struct, frozen=True, kw_only=True):
    """Subtitles in one WebVTT file of `size` bytes."""

    id: str
    path: str
    size: int
    name: str
    language: str = UNKNOWN
    forced: bool = False
    purposes: tuple[Purpose, ...] = ()


def manifest(pictures: Sequence[Picture], sounds: Sequence[Sound] = (), texts: Sequence[Text] = ()) -> str:
    """A static manifest: one adaptation set for the pictures of each codec, one for each sound track, one for each subtitle.

    Times and lengths of segments are those that the segments have: the presentation lasts until the last of them has ended.
    """
    every = [*(one.segments for one in pictures), *(one.segments for one in sounds)]
    length = max(one.end for one in every)
    families = list(dict.fromkeys(one.codecs.partition(".")[0] for one in pictures))
    sets = [_pictures([one for one in pictures if one.codecs.startswith(family)]) for family in families]
    tracks = list(dict.fromkeys(one.track for one in sounds))
    sets += [_sounds([one for one in sounds if one.track == track], is_main=track == tracks[0]) for track in tracks]
    sets += [_text(one, length) for one in texts]
    period = _element("Period", {"id": "0", "start": "PT0S"}, [
        _element("AdaptationSet", {"id": number, **attributes}, children)
        for number, (attributes, children) in enumerate(sets)
    ])  # fmt: skip
    root = {
        "xmlns": NAMESPACE,
        "profiles": LIVE_PROFILE,
        "type": "static",
        "mediaPresentationDuration": _seconds(length),
        "minBufferTime": _seconds(max(one.longest for one in every)),
    }
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', *_element("MPD", root, [period])]) + "\n"


Element = list[str]
"""Its lines."""
Attributes = Mapping[str, object]


def _pictures(pictures: Sequence[Picture]) -> tuple[Attributes, list[Element]]:
    attributes: Attributes = {
        "contentType": "video",
        "mimeType": "video/mp4",
        "segmentAlignment": "true",
        "startWithSAP": 1,
        "par": "{}:{}".format(*shape([one.size for one in pictures]).as_integer_ratio()),
        "maxWidth": max(one.size.width for one in pictures),
        "maxHeight": max(one.size.height for one in pictures),
        "maxFrameRate": str(max(one.rate for one in pictures)),
    }
    best_first = sorted(pictures, key=lambda one: -one.segments.bandwidth_bps)
    return attributes, [*_colour(pictures[0].video_range), _role("main"), *(_picture(one) for one in best_first)]


def _colour(video_range: str | None) -> list[Element]:
    """What a screen has to be able to show; one that is standard needs no word (DASH-IF IOP 10.4)."""
    if video_range is None:
        return []
    values = {"ColourPrimaries": 9, "MatrixCoefficients": 9, "TransferCharacteristics": TRANSFERS[video_range]}
    return [
        _element("EssentialProperty", {"schemeIdUri": f"urn:mpeg:mpegB:cicp:{name}", "value": value})
        for name, value in values.items()
    ]


def shape(sizes: Sequence[Size]) -> Fraction:
    """The simplest ratio of sides that all these sizes have, but for a pixel of rounding; else that of the largest."""
    largest = max(sizes, key=lambda one: one.height)
    for high in range(1, largest.height):
        ratio = Fraction(round(Fraction(largest.width * high, largest.height)), high)
        if all(abs(one.width - one.height * ratio) <= 1 for one in sizes):
            return ratio
    return Fraction(largest.width, largest.height)


def _picture(one: Picture) -> Element:
    attributes: Attributes = {
        "id": one.id,
        "codecs": one.codecs,
        "bandwidth": one.segments.bandwidth_bps,
        "width": one.size.width,
        "height": one.size.height,
        "sar": "1:1",
        "frameRate": str(one.rate),
    }
    return _element("Representation", attributes, [_template(one.segments)])


def _sounds(sounds: Sequence[Sound], *, is_main: bool) -> tuple[Attributes, list[Element]]:
    attributes: Attributes = {
        "contentType": "audio",
        "mimeType": "audio/mp4",
        "lang": sounds[0].language,
        "segmentAlignment": "true",
        "startWithSAP": 1,
    }
    layout = CHANNEL_CONFIGURATIONS.get(sounds[0].channels, sounds[0].channels)
    described = [
        _element("AudioChannelConfiguration", {"schemeIdUri": CHANNELS, "value": layout}),
        _label(sounds[0].name),
        *_accessibility(sounds[0].purposes),
        _role("main" if is_main else "commentary" if Purpose.COMMENTARY in sounds[0].purposes else "alternate"),
    ]
    return attributes, [*described, *(_sound(one) for one in sounds)]


def _sound(one: Sound) -> Element:
    attributes: Attributes = {
        "id": one.id,
        "codecs": one.codecs,
        "bandwidth": one.segments.bandwidth_bps,
        "audioSamplingRate": one.sample_rate,
    }
    return _element("Representation", attributes, [_template(one.segments)])


def _text(one: Text, length: Fraction) -> tuple[Attributes, list[Element]]:
    attributes: Attributes = {"contentType": "text", "mimeType": "text/vtt", "lang": one.language}
    whole = _element("Representation", {"id": one.id, "bandwidth": max(1, ceil(one.size * 8 / length))}, [
        [f"<BaseURL>{escape(one.path)}</BaseURL>"]
    ])  # fmt: skip
    return attributes, [
        _label(one.name),
        *_accessibility(one.purposes),
        _role("forced-subtitle" if one.forced else "subtitle"),
        whole,
    ]


def _template(segments: Segments) -> Element:
    attributes: Attributes = {
        "timescale": segments.timescale,
        "presentationTimeOffset": segments.origin,
        "startNumber": 0,
        "initialization": "$RepresentationID$/init.mp4",
        "media": "$RepresentationID$/seg-$Number%05d$.m4s",
    }
    return _element("SegmentTemplate", attributes, [_element("SegmentTimeline", {}, list(_runs(segments.spans)))])


def _runs(spans: Sequence[Span]) -> Iterator[Element]:
    """Neighbours of equal length are one entry."""
    starts = [0, *(number for number, (a, b) in enumerate(pairwise(spans), 1) if a.ticks != b.ticks), len(spans)]
    for begin, end in pairwise(starts):
        first = {"t": spans[0].start} if begin == 0 else {}
        again = {"r": end - begin - 1} if end - begin > 1 else {}
        yield _element("S", {**first, "d": spans[begin].ticks, **again})


def _role(value: str) -> Element:
    return _element("Role", {"schemeIdUri": ROLES, "value": value})


def _accessibility(purposes: Sequence[Purpose]) -> list[Element]:
    values = (ACCESSIBILITY[one] for one in purposes if one in ACCESSIBILITY)
    return [_element("Accessibility", {"schemeIdUri": AUDIO_PURPOSES, "value": value}) for value in values]


def _label(name: str) -> Element:
    return [f"<Label>{escape(name)}</Label>"]


def _element(name: str, attributes: Attributes, children: Sequence[Element] = ()) -> Element:
    written = "".join(f' {key}="{escape(str(value))}"' for key, value in attributes.items())
    if not children:
        return [f"<{name}{written}/>"]
    return [f"<{name}{written}>", *(f"  {line}" for child in children for line in child), f"</{name}>"]


def escape(text: str) -> str:
    """Text in an element or an attribute (XML 1.0, 2.4)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _seconds(value: Fraction) -> str:
    """An xs:duration. Rounded up to the microsecond: what lasts shorter than its segments cuts the last of them."""
    return f"PT{ceil(value * 1_000_000) / 1_000_000:.6f}S"
